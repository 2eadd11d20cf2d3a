"""Requirement lists: what is taken of a requirements.txt, a conda file, typed names and a model card, and what is refused by its line."""

import sys
import time

import pytest

from services.domain import ItemKind, ModelCard
from services.errors import IntakeError, NotFound
from services.intake import requirement_lists
from services.intake.requirement_lists import from_conda, from_file, from_packages, from_requirements, requirements_for, unmet

LINUX_ON_X86_64 = pytest.mark.skipif(sys.platform != "linux", reason="only there do the plain packages bring GPU libraries")


def refused(take, *given):
    with pytest.raises(IntakeError) as error:
        take(*given)
    return error.value.message


def test_names_versions_extras_and_markers_are_taken():
    text = (
        "\ufeff# made by hand\n\nScikit_Learn==1.3.2   # the model's\nnumpy>=1.2, <2 ; python_version < '3.13'\nuvicorn[standard]~=0.30\n"
    )
    assert from_requirements(text.encode()).lines == (
        "scikit-learn==1.3.2", 'numpy<2,>=1.2; python_version < "3.13"', "uvicorn[standard]~=0.30",
    )  # fmt: skip
    assert from_requirements("numpy==1.26.4\r\nscipy\r\n".encode("utf-16")).lines == ("numpy==1.26.4", "scipy")
    assert from_requirements(b"numpy \\\n  ==1.26.4").lines == ("numpy==1.26.4",)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-r other.txt", "is an option"),
        ("--index-url https://me:password@evil.example/simple", "is an option"),
        ("--extra-index-url=https://evil.example", "is an option"),
        ("-e .", "is an option"),
        ("numpy --no-binary :all:", "holds an option"),
        ("numpy==1.26.4 --hash=sha256:" + "0" * 64, "holds a hash"),
        ("numpy==1.26.4 \\\n    --hash=sha256:" + "0" * 64, "holds a hash"),
        ("numpy @ https://evil.example/numpy.whl", "is an address"),
        ("numpy@https://evil.example/numpy.whl", "is an address"),
        ("git+ssh://git@evil.example/x.git", "is an address"),
        ("https://evil.example/x.whl", "is an address"),
        ("file:///etc/passwd", "is an address"),
        ("./package", "is a path"),
        ("../package[extra]", "is a path"),
        ("~/package", "is a path"),
        ("C:\\package", "is a path"),
        ("package.whl", "is a path"),
        ("package-1.0.tar.gz", "is a path"),
        ("package==${SECRET}", "holds a variable"),
        ("package; os_name == '${SECRET}'", "holds a variable"),
        ("package==1.0; os_name == 'a\x00b'", "holds control characters"),
        ("package; os_name == 'a#b'", "is not NAME or NAME==VERSION"),
        ("numpy=1.26", "is not NAME or NAME==VERSION"),
        ("numpy==1.26 scipy", "is not NAME or NAME==VERSION"),
        ("<html>", "is a path"),
        ("=cmd|' /C calc'!A0", "is a path"),
        ("né==1", "is not NAME or NAME==VERSION"),
        ("a" * 600, "is longer than 500 characters"),
    ],
)
def test_what_leads_elsewhere_is_refused_by_line(line, why):
    if why == "is a path" and line[0] in "<=":
        why = ""  # whatever the reason
    message = refused(from_requirements, f"pandas\n\n{line}\nscipy\n".encode())
    assert message.startswith("requirements.txt can't be taken: line 3, “")
    assert why in message
    assert "password" not in message
    assert "line 5" not in message


def test_many_refused_lines_are_named_up_to_a_few():
    message = refused(from_requirements, b"-e .\n" * 8)
    assert message.count("line ") == 5
    assert message.endswith("; and 3 lines more.")


@pytest.mark.parametrize("separator", ["\u2028", "\x0b", "\x85", "\r"])
def test_no_line_end_hides_an_option_in_a_line(separator):
    assert "“--index-url" in refused(from_requirements, f"numpy{separator}--index-url x".encode())
    assert "control characters" in refused(from_packages, [f"numpy; os_name == 'a{separator}--index-url x'"])


def test_what_is_no_list_is_refused(tmp_path):
    assert refused(from_requirements, b"") == refused(from_requirements, b"# nothing\n") == "requirements.txt lists no packages."
    assert "is not text in UTF-8" in refused(from_requirements, b"\x80\x04\x95")
    assert "is too large" in refused(from_requirements, b"a\n" * 200_000)
    assert "more than 1,000 lines" in refused(from_requirements, b"a\n" * 1_001)
    assert "is not a file" in refused(from_file, tmp_path)
    with pytest.raises(NotFound):
        from_file(tmp_path / "requirements.txt")


def test_the_sha256_is_of_the_list_and_of_what_may_be_built():
    typed, read = from_packages(["numpy==1.26.4", "scipy"]), from_requirements(b"# a comment\nnumpy == 1.26.4\nSciPy\n")
    assert typed.text == read.text == "numpy==1.26.4\nscipy\n"
    assert typed.sha256 == read.sha256 != from_packages(["scipy", "numpy==1.26.4"]).sha256
    building = read.building(["SciPy"])
    assert building.builds == ("scipy",)
    assert building.sha256 != read.sha256
    assert "is not just a name" in refused(read.building, ["scipy==1"])
    assert "is an option" in refused(read.building, ["--all"])


CONDA = """
name: old
channels: [conda-forge]
dependencies:
  - python=3.11.4
  - numpy=1.26
  - conda-forge::scikit-learn==1.3.2
  - pandas=2.1.4=py311h320fe9a_0
  - scipy 1.10.1 py311_0
  - joblib >=1.2, <2
  - pytables=3.*
  - libgcc-ng=13
  - _openmp_mutex
  - pip<24
  - pip:
    - mlflow==2.9.2
prefix: /home/somebody/envs/old
"""


def test_a_conda_file_gives_its_pip_part_its_python_and_what_pip_has_too():
    read = from_conda(CONDA.encode())
    assert read.lines == (
        "numpy==1.26.*", "scikit-learn==1.3.2", "pandas==2.1.4", "scipy==1.10.1", "joblib<2,>=1.2", "tables==3.*", "mlflow==2.9.2",
    )  # fmt: skip
    assert (read.python_version, read.python_required) == ("3.11.4", True)
    assert read.conda_only == ("libgcc-ng", "_openmp_mutex")
    assert read.notes == (
        "Only conda has these, so they are left out: libgcc-ng, _openmp_mutex.",
        "These come from PyPI in place of conda: numpy, scikit-learn, pandas, scipy, joblib, pytables.",
    )
    assert from_conda(b"dependencies: ['python>=3.9,<3.12', numpy]").python_version == "<3.12,>=3.9"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dependencies:\n- numpy\n- pip:\n  - -r other.txt", "conda.yaml can't be taken: line 4, “-r other.txt”, is an option."),
        (
            "dependencies:\n- https://evil.example/numpy.tar.bz2",
            "conda.yaml can't be taken: line 2, “https://evil.example/numpy.tar.bz2”, is",
        ),
        ("dependencies:\n- numpy=1.26|1.25", "line 2, “numpy=1.26|1.25”, chooses in a way that only conda has"),
        ("dependencies:\n- numpy[version='>=1']", "chooses in a way that only conda has"),
        ("dependencies:\n- numpy=a=b=c d", "is not NAME or NAME=VERSION"),
        ("dependencies:\n- numpy\n- other: [a]", "conda.yaml, line 3: this is neither a package nor a list of pip's."),
        ("dependencies:\n- pip: [[numpy]]", "conda.yaml, line 2: this is not a text."),
        ("dependencies: [cudatoolkit=11]", "lists no packages that pip has. Only conda has these, so they are left out: cudatoolkit."),
        ("dependencies: numpy", "lists no dependencies"),
        ("- numpy", "lists no dependencies"),
        ("", "lists no dependencies"),
        ("a: &a [x]\ndependencies: *a", "line 2 repeats another part by an alias (*)"),
        ("[" * 100_000, "nested too deep"),
        ("dependencies: [!!python/object/apply:os.system [id]]", "this is neither a package"),
        ("a: [", "The conda file conda.yaml can't be read"),
        ("%YAML 9\n---\n\0", "The conda file conda.yaml can't be read"),
    ],
)
def test_a_conda_file_is_refused_by_line(text, message):
    assert message in refused(from_conda, text.encode())


def test_an_alias_bomb_is_refused_at_once():
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30)]
    begin = time.monotonic()
    assert "by an alias" in refused(from_conda, "\n".join(["l0: &l0 x", *levels, "dependencies: *l29"]).encode())
    assert time.monotonic() - begin < 1


def test_a_models_list_gets_what_the_scorers_need():
    card = ModelCard("scikit-learn", requirements=("scikit-learn==1.3.2", "numpy<2"), python_version="3.10.12")
    made = requirements_for(card)
    assert made.lines == ("scikit-learn==1.3.2", "numpy<2", "pandas", "pyarrow")
    assert made.companions == ("pandas", "pyarrow")
    assert (made.python_version, made.python_required) == ("3.10", False)
    onnx = ModelCard("onnx", requirements=("onnxruntime",), takes=(ItemKind.IMAGE,), python_version="2.7")
    assert requirements_for(onnx).companions == ("numpy", "pandas", "pyarrow", "pillow")
    assert requirements_for(onnx).python_version == ""
    mlflow = ModelCard("mlflow", requirements=("mlflow==2.9.2", "numpy==1.26.4", "pandas==2.1.4"))
    assert requirements_for(mlflow).companions == ("pyarrow", "setuptools<82")
    assert requirements_for(mlflow).lines == ("mlflow-skinny==2.9.2", "numpy==1.26.4", "pandas==2.1.4", "pyarrow", "setuptools<82")
    assert "mlflow-skinny in place of mlflow" in requirements_for(mlflow).notes[0]


def test_a_model_that_says_nothing_or_lies_gives_no_list():
    assert "doesn't say what it needs" in refused(requirements_for, ModelCard("unknown"))
    hostile = ModelCard("mlflow", requirements=("mlflow", "--index-url https://evil.example"))
    assert "The model's list of requirements can't be taken: line 2" in refused(requirements_for, hostile)


@LINUX_ON_X86_64
@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("xgboost", "xgboost-cpu"),
        ("xgboost==3.0.1", "xgboost-cpu==3.0.1"),
        ("xgboost==1.7.6", "xgboost==1.7.6"),
        ("xgboost<2.1", "xgboost<2.1"),
        ("xgboost==2.1.*", "xgboost-cpu==2.1.*"),
        ("xgboost~=1.7.0", "xgboost~=1.7.0"),
        ("xgboost~=2.0", "xgboost-cpu~=2.0"),
        ("tensorflow[and-cuda]==2.17.0", "tensorflow-cpu==2.17.0"),
        ("tensorflow==2.4.0", "tensorflow==2.4.0"),
        ("torch==2.5.1", "torch==2.5.1"),
    ],
)
def test_what_would_bring_gpu_libraries_comes_as_its_cpu_build(line, instead, monkeypatch):
    monkeypatch.setattr(requirement_lists.platform, "machine", lambda: "x86_64")
    made = from_packages([line])
    assert made.lines == (instead,)
    assert bool(made.notes) == (instead != line or line.startswith("torch"))


def test_what_an_environment_lacks_is_told():
    packages = {"scikit_learn": "1.9.1", "numpy": "2.3.2", "xgboost-cpu": "3.0.1", "odd": "not a version"}
    needed = ["scikit-learn==1.3.2", "numpy>=1.2", "xgboost==3.0.5", "lightgbm", "-r x", "colorama; sys_platform == 'other'", "odd==1"]
    assert list(map(str, unmet(needed, packages))) == [
        "scikit-learn 1.3.2 (it has 1.9.1)",
        "lightgbm (it has none)",
        "odd 1 (it has not a version)",
    ]
    assert not unmet(["scikit-learn==1.9.0"], packages)
    assert not unmet(["onnxruntime>=1.20"], {"onnxruntime": ""})  # there, in a version that isn't known
    assert not unmet(["six; python_version < '3.9'"], packages, "3.12.1")


def test_keras_computes_with_any_of_its_backends():
    needed = ["keras==3.15.1", "tensorflow"]
    assert not unmet(needed, {"keras": "3.15.1", "torch": "2.13.0"})
    assert [one.name for one in unmet(needed, {"keras": "3.15.1"})] == ["tensorflow"]
    assert [one.name for one in unmet(["keras-tuner", "tensorflow"], {"keras-tuner": "1", "torch": "2"})] == ["tensorflow"]
