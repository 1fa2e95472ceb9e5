"""As much of the hub of Hugging Face as its library needs to list a model's files and read them."""

import hashlib
import json
import re
import urllib.parse
from pathlib import Path
from typing import Any

from tests.web import Web

MODEL = "me/it"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(Web):
    """Serves the files of a folder as those of the one model that there is."""

    def reply(self, method: str, path: str, body: bytes) -> tuple[str, Any]:
        """Give where the file lies that is asked for, or what is said in JSON."""
        asked = re.fullmatch(f"/api/models/{MODEL}(/[a-z-]+/[^/]+)?(/.*)?", path)
        if found := re.fullmatch(f"/{MODEL}/resolve/[^/]+/(.*)", path):
            return found[1], None
        if asked is None:
            return "", None
        what = (asked[1] or "/").split("/")[1]
        if what == "paths-info":
            form = urllib.parse.parse_qs(body.decode())
            paths = form.get("paths") or json.loads(body).get("paths", [])
            return "", [one for one in self.files() if one["path"] in paths]
        if what == "tree":
            below = (asked[2] or "/").strip("/")
            return "", [one for one in self.files() if one["path"].startswith(below)]
        return "", {"id": MODEL, "modelId": MODEL, "sha": COMMIT, "siblings": [], "tags": []}

    def files(self) -> list[dict[str, Any]]:
        """Give what the hub says of all files."""
        found = []
        for path in sorted(Path(self.folder).rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                found.append(
                    {
                        "type": "file",
                        "path": path.relative_to(self.folder).as_posix(),
                        "size": len(data),
                        "oid": hashlib.sha1(data).hexdigest(),
                    }
                )
        return found
