"""Print the lowest versions that gradclip declares, as constraints for pip."""

import re
import tomllib
from pathlib import Path


def lowest() -> list[str]:
    """Give `name==version` for each dependency at run time."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    declared = project["project"]["dependencies"]
    found = [re.fullmatch(r"([\w.-]+)>=([\d.]+)", each) for each in declared]
    assert all(found), "each dependency has a lowest version, and nothing else"
    return [f"{match[1]}=={match[2]}" for match in found if match]


if __name__ == "__main__":
    print("\n".join(lowest()))  # noqa: T201 that is what it is for
