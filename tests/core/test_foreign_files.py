"""Foreign files are decoded as what they say they are, within limits, and what cannot be decoded is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from conself_local.foreign_files import PARSER_ERRORS, read_source, read_text, reason


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("name = 'Zoë'\n".encode(), "name = 'Zoë'\n"),
        (b"\xef\xbb\xbf" + "name = 'Zoë'\n".encode(), "name = 'Zoë'\n"),
        ("# -*- coding: latin-1 -*-\nname = 'Zoë'\n".encode("latin-1"), "# -*- coding: latin-1 -*-\nname = 'Zoë'\n"),
        ("#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n'€'\n".encode("cp1252"), "#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n'€'\n"),
        ("# coding: euc-jp\n'日本'\n".encode("euc-jp"), "# coding: euc-jp\n'日本'\n"),
        (b"", ""),
    ],
)  # fmt: skip
def test_source_is_decoded_by_its_mark_or_coding_line(content: bytes, text: str, tmp_path: Path) -> None:
    """Files with a coding line were read as UTF-8 and left out."""
    (tmp_path / "a.py").write_bytes(content)
    assert read_source(tmp_path / "a.py", 1000) == text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("name = 'Zoë'\n".encode("latin-1"), "invalid or missing encoding declaration"),
        (b"# coding: klingon\n", "unknown encoding: klingon"),
        (b"# coding: hex\n", "hex, which is no character set"),
        (b"# coding: punycode\n", "punycode, which is no character set"),
        (b"\xef\xbb\xbf# coding: latin-1\n", "encoding problem"),
        (b"# coding: ascii\n'\xe9'\n", "ascii"),
        (b"#" * 2000, "larger than the limit"),
    ],
)
def test_source_in_no_known_encoding_is_refused_in_one_line(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(content)
    with pytest.raises(PARSER_ERRORS) as raised:
        read_source(tmp_path / "a.py", 1000)
    assert says in reason(raised.value) and "\n" not in reason(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_in_the_encodings_that_editors_write(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes("name = 'Zoë'".encode(encoding))
    assert read_text(tmp_path / "a.toml", 1000) == "name = 'Zoë'"


def test_text_in_another_encoding_is_refused_by_a_reason_for_people(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes("name = 'Zoë'".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8 text"):
        read_text(tmp_path / "a.toml", 1000)
