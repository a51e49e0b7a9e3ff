"""The sandbox's field table says what the pinned official client's models say."""

import field_table


def test_the_field_table_is_the_one_the_pinned_clients_models_make() -> None:
    assert field_table.TABLE.read_text() == field_table.text(field_table.build())
