"""The spawner's loop serves only what is still open: reaping a container closes pipes that became readable with it."""

import os
import selectors

from harness.sandbox.node.spawner import dispatch


def test_what_a_callback_closed_is_not_served_in_the_same_turn() -> None:
    selector = selectors.DefaultSelector()
    pipes = [os.pipe(), os.pipe()]
    served = []

    def serve(mine: int, other: int) -> None:
        served.append(mine)
        selector.unregister(pipes[other][0])
        os.close(pipes[other][0])
        reused = os.dup2(pipes[mine][0], pipes[other][0])
        selector.register(reused, selectors.EVENT_READ, lambda: served.append(-1))

    for mine, other in ((0, 1), (1, 0)):
        os.write(pipes[mine][1], b"x")
        selector.register(
            pipes[mine][0], selectors.EVENT_READ, lambda mine=mine, other=other: serve(mine, other)
        )
    dispatch(selector)
    assert len(served) == 1
    for pipe in pipes:
        os.close(pipe[0])
        os.close(pipe[1])
    selector.close()
