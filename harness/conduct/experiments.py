"""Find campaigns by name, and the experiment files they name: beside the campaign, then here, then in the package."""

from collections.abc import Iterable
from pathlib import Path

from harness.errors import InputError

PACKAGE = Path(__file__).resolve().parent.parent


def find_campaign(name: str) -> Path:
    """Return the file of a campaign given by path or by name (`tour`); a name is looked for here, then in the package."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name)
    folders = (Path.cwd() / "campaigns", PACKAGE / "shipped" / "campaigns", PACKAGE.parent / "campaigns")
    for folder in folders:
        if (file := folder / f"{name}.yaml").is_file():
            return file
    known = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise InputError(f"campaign {name!r}: no such file; known campaigns: {', '.join(known) or 'none'}")


def places(campaign_file: Path) -> tuple[Path, ...]:
    """Return the folders that are searched for experiments, in order."""
    beside = campaign_file.resolve().parent
    return (
        beside / "experiments",
        beside,
        beside.parent / "experiments",
        Path.cwd() / "experiments",
        PACKAGE / "shipped" / "experiments",
        PACKAGE.parent / "experiments",
    )


def find_experiments(names: Iterable[str], campaign_file: Path) -> dict[str, Path]:
    """Return the file of every experiment named; raise InputError naming each that is missing, and the known ones."""
    folders = places(campaign_file)
    found: dict[str, Path] = {}
    missing: list[str] = []
    for name in dict.fromkeys(names):
        files = [
            file
            for folder in folders
            for suffix in (".yaml", ".json")
            if (file := folder / f"{name}{suffix}").is_file()
        ]
        if files:
            found[name] = files[0]
        else:
            missing.append(name)
    if missing:
        known = sorted({file.stem for folder in folders[2:] for file in folder.glob("*.yaml")})
        raise InputError(
            "\n".join(f"{campaign_file}: experiment {name!r} is nowhere to be found" for name in missing)
            + f"\n  known experiments: {', '.join(known) or 'none'}"
        )
    return found
