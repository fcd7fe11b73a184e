# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the parts of an image together: assemble.py FOLDER FILE."""

import hashlib
import subprocess
import sys
from pathlib import Path

folder, target = Path(sys.argv[1]), Path(sys.argv[2])
with target.open("wb") as disk:
    for line in (folder / "parts").read_text().splitlines():
        kind, offset, length, *part = line.split()
        disk.truncate(int(offset) + int(length))
        if kind == "data":
            if hashlib.sha256((folder / part[1]).read_bytes()).hexdigest() != part[0]:
                sys.exit(f"{part[1]} does not have the checksum of the list")
            argv = ["zstd", "--decompress", "--stdout", str(folder / part[1])]
            content = subprocess.run(argv, check=True, capture_output=True).stdout
            if len(content) != int(length):
                sys.exit(f"{part[1]} has {len(content)} bytes, expected {length}")
            disk.seek(int(offset))
            disk.write(content)
