from pathlib import Path

REPOSITORY = Path(__file__).parents[4]


def test_the_model_folder_is_small_and_has_no_path_of_this_machine_but_the_base_s(
    model_folder: Path, base_folder: Path
) -> None:
    files = {path.name: path for path in model_folder.rglob("*") if path.is_file()}
    rest = sum(
        path.stat().st_size for name, path in files.items() if name not in ("prefix.safetensors", "manifest.json")
    )
    assert rest < 10_000
    description = files["MLmodel"].read_text().replace(str(base_folder), "")
    assert str(REPOSITORY) not in description
    assert "/tmp" not in description
    assert any(line.startswith("torch==") for line in files["requirements.txt"].read_text().splitlines())
