import size
from size import File


def test_tests_and_folders():
    paths = ("common/io.py", "common/arch/nodes.py", "setup.py", "common/io_test.py")
    files = [File(path, "a\nb\n") for path in (*paths, "parity_tests/compare.py", "conftest.py")]
    assert [file.is_test for file in files] == [False, False, False, True, True, True]
    assert [file.folder for file in files[:3]] == ["common", "common/arch", "."]
    assert size.table(files)[-1].split() == ["all", "6", "3", "6", "3"]
    assert list(size.excesses(files)) == []


def test_excesses_are_named():
    body = "".join(f"    x = {k}\n" for k in range(62))
    text = f"import json\ndef f():\n{body}"
    files = [
        File("common/a.py", text),
        File("common/b.py", f"x = '{'a' * 100}'\n" + "\n" * 400),
        File("common/a_test.py", "def f():\n    import json\n"),
        *(File(f"common/{k}.py", "") for k in range(8)),
    ]
    assert list(size.excesses(files)) == [
        "9 files beside the folders of common/; the budget is 8",
        "common/a.py:2: f has 63 lines; at most 60",
        "common/b.py: 401 lines; at most 400",
        "common/b.py:1: 106 characters; at most 100",
    ]
