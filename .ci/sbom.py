"""Keeps of an SBOM (the file named first) the crates that cargo-tree lists on stdin, and nothing of where the sources
lie (the folder named second). Fails where the SBOM lacks one."""

import json
import sys

text = open(sys.argv[1]).read().replace(f"path+file://{sys.argv[2]}/", "path+file:")
sbom = json.loads(text)
lines = [line.split() for line in sys.stdin]
listed = {(line[0], line[1].removeprefix("v")) for line in lines if line}
identity = lambda component: (component["name"], component["version"])
root = sbom["metadata"]["component"]

sbom["components"] = [component for component in sbom["components"] if identity(component) in listed]
missing = listed - {identity(root)} - {identity(component) for component in sbom["components"]}
if missing:
    sys.exit(f"the SBOM lacks {sorted(missing)}")

refs = {root["bom-ref"]} | {component["bom-ref"] for component in sbom["components"]}
sbom["dependencies"] = [
    {**entry, "dependsOn": [ref for ref in entry.get("dependsOn", []) if ref in refs]}
    for entry in sbom["dependencies"]
    if entry["ref"] in refs
]
json.dump(sbom, sys.stdout, indent=1)
print(f"{len(sbom['components'])} components", file=sys.stderr)
