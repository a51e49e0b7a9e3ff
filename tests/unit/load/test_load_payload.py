"""The sandbox's payload formula, written down here by hand once more."""

import struct
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from harness.focus.payload import corruption, payload_problem
from harness.wire.pandadatastream_pb2 import DataStream


def message(slot: int, counter: int, stream: int, rows: list[int], width: int = 12) -> DataStream:
    def samples(row: int) -> bytes:
        head = [
            row % 256,
            row // 256 % 256,
            row // 65536 % 256,
            slot % 256,
            counter % 256,
            counter // 256 % 256,
        ]
        head += [stream, 256 + 0.25 * min(row // 8, 2976)]
        rest = [0.25 * ((17 * i + 257 * stream + 31 * counter + 7 * slot) % 1021) for i in range(8, width)]
        return struct.pack(f"<{width}f", *head, *rest)

    return DataStream(row_index=rows, data_shape_x=width, main_data=[samples(row) for row in rows])


@given(
    st.integers(1, 300),
    st.integers(0, 10**6),
    st.integers(0, 2),
    st.sets(st.integers(0, 10**7), max_size=3).map(sorted),
)
def test_what_the_sandbox_sends_for_a_job_is_that_jobs(
    slot: int, counter: int, stream: int, rows: list[int]
) -> None:
    assert (
        payload_problem(message(slot, counter, stream, rows).SerializeToString(), slot, counter, stream) == ""
    )


def test_another_jobs_streams_or_rows_samples_are_told() -> None:
    data = message(4, 2051, 1, [7]).SerializeToString()
    assert "begins" in payload_problem(data, 5, 2051, 1)
    assert "begins" in payload_problem(data, 4, 2052, 1)
    assert "begins" in payload_problem(data, 4, 2051, 2)
    moved = message(4, 2051, 1, [7])
    moved.row_index[0] = 8
    assert "row 8" in payload_problem(moved.SerializeToString(), 4, 2051, 1)
    assert "ends with" in payload_problem(message(4, 2051 + 65536, 1, [7]).SerializeToString(), 4, 2051, 1)
    cut = message(4, 2051, 1, [7])
    cut.main_data[0] = cut.main_data[0][:-1]
    assert "bytes" in payload_problem(cut.SerializeToString(), 4, 2051, 1)
    cut.main_data.append(b"")
    assert "2 rows of samples" in payload_problem(cut.SerializeToString(), 4, 2051, 1)


def test_a_message_that_contradicts_itself_is_told_on_any_server() -> None:
    def corrupt(change: Callable[[DataStream], object]) -> str:
        broken = message(4, 2051, 1, [7, 8, 9])
        broken.timestamp_in_milis.extend([1, 2, 3])
        change(broken)
        return corruption(broken.SerializeToString())

    assert corrupt(lambda _: None) == ""
    assert corruption(b"") == "", "an empty message has nothing wrong in it"
    assert corrupt(lambda one: one.row_index.__setitem__(2, 10)) == "", (
        "a row that was skipped is lost, not corrupt"
    )
    assert "row 8 comes after row 8" in corrupt(lambda one: one.row_index.__setitem__(2, 8))
    assert "2 rows of samples for 3" in corrupt(lambda one: one.main_data.pop())
    assert "2 instants for 3 rows" in corrupt(lambda one: one.timestamp_in_milis.pop())
    assert "its width is 13" in corrupt(lambda one: setattr(one, "data_shape_x", 13))
