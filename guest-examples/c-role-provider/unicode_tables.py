"""Writes `src/unicode_tables.h`, from what this Python knows of Unicode:

    python3 unicode_tables.py > src/unicode_tables.h

The properties are found by asking `str.lower`, which goes by them, so that the plugin and Python agree.
"""

import sys
import unicodedata

CHARACTERS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def ranges(codes):
    """Sorted numbers as (first, last)."""
    found = []
    for code in codes:
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def steps(pairs):
    """Sorted (capital, small) as (first, last, step, distance): alphabets, and capitals that take turns
    with their small letters."""
    found = []
    for capital, small in pairs:
        distance = small - capital
        if found and found[-1][3] == distance:
            first, last, step, _ = found[-1]
            if capital - last in (1, 2) and (first == last or step == capital - last):
                found[-1] = (first, capital, capital - last, distance)
                continue
        found.append((capital, capital, 1, distance))
    return found


def is_before_a_final_sigma(character):
    """Whether a sigma that follows is a final one: so it is after a cased character."""
    return (character + "Σ").lower().endswith("ς")


def is_skipped(character):
    """Whether a sigma is a final one if something is between it and the end of the word."""
    return ("A" + character + "Σ").lower().endswith("ς") and ("AΣ" + character).lower()[1] == "ς"


def table(kind, name, rows, per_line):
    print(f"\nstatic const struct {kind} {name}[] = {{")
    for at in range(0, len(rows), per_line):
        print("    " + " ".join("{" + ", ".join(row) + "}," for row in rows[at : at + per_line]))
    print("};")


def main():
    changed = [(c, c.lower()) for c in CHARACTERS if c.lower() != c]
    special = [c for c, lower in changed if len(lower) > 1]
    assert special == ["\u0130"], "unicode.c knows of one character that becomes two"
    pairs = [(ord(c), ord(lower)) for c, lower in changed if c not in special]
    lowercase = [[f"0x{a:x}", f"0x{b:x}", f"{s}", f"{d}"] for a, b, s, d in steps(pairs)]

    ignorable = [c for c in CHARACTERS if is_skipped(c)]
    cased = [c for c in CHARACTERS if is_before_a_final_sigma(c)]
    as_rows = lambda characters: [[f"0x{a:x}", f"0x{b:x}"] for a, b in ranges(map(ord, characters))]

    print(f"// Unicode {unicodedata.unidata_version}, written by unicode_tables.py.")
    table("lowercase", "LOWERCASE", lowercase, 4)
    table("range", "CASED", as_rows(cased), 6)
    table("range", "CASE_IGNORABLE", as_rows(ignorable), 6)


main()
