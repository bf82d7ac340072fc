"""Checks of a model's options; every option is checked, because a foreign file may hold any value."""

from collections.abc import Collection, Sequence


def check_range(name: str, value: object, least: int, most: int) -> None:
    """ValueError unless `value` is a whole number from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name}={value}: choose a whole number from {least} to {most}")


def check_number(name: str, value: object, least: float, most: float, optional: bool = False) -> None:
    """ValueError unless `value` is a number from `least` to `most`; None is valid, too, if `optional`."""
    if optional and value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        null = ", or null" if optional else ""
        raise ValueError(f"{name}={value}: choose a number from {least:g} to {most:g}{null}")


def check_choice(name: str, value: object, allowed: Collection[object]) -> None:
    """ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name}={value}: choose one of {', '.join(map(str, allowed))}")


def check_list(name: str, values: Sequence[object], count: tuple[int, int], least: int, most: int) -> None:
    """ValueError unless there are from count[0] to count[1] `values`, whole numbers from `least` to `most`."""
    if not count[0] <= len(values) <= count[1]:
        wanted = str(count[0]) if count[0] == count[1] else f"{count[0]} to {count[1]}"
        raise ValueError(f"{name}={list(values)}: give {wanted} whole numbers")
    for value in values:
        check_range(name, value, least, most)


def check_strides(strides: Sequence[object]) -> None:
    """ValueError unless these are 1 to 8 strides from 1 to 16."""
    check_list("strides", strides, (1, 8), 1, 16)
