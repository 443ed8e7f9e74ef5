"""Each command on a small trained vertical: what it does, what it says, where it sends a newcomer next."""

import io
import json
import re
import shutil
import socket
import threading
import tomllib
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.cli.test_main import leave
from tests.reports.test_verdict import measured
from tests.steps.test_fit import losing
from vertune.core.files import read_json, write_json
from vertune.reports.verdict import verdict


@pytest.fixture
def run(home, capsys):
    """Run a command in the copied home and give its exit code, output and errors."""

    def call(*words):
        capsys.readouterr()
        code = leave([str(word) for word in words])
        said = capsys.readouterr()
        return code or 0, said.out, said.err

    return call


@pytest.fixture
def model(home):
    return home.get("models", "support")


def test_init_then_prepare(run, table, tmp_path, tiny_base):
    out = tmp_path / "made.yaml"
    code, shown, said = run("init", table, "--out", out)
    assert code == 0, said
    assert "classify" in shown
    assert f"vertune fit {out}" in said
    config = yaml.safe_load(out.read_text())
    assert config["data"]["fields"] == {"text": "query", "label": "kind"}
    code, shown, said = run("prepare", out, "--set", f"base={tiny_base}", "--set", "name=other")
    assert code == 0, said
    assert "train 43" in shown
    assert "vertune train" in said


def test_a_note_that_is_a_warning_is_printed_once(run, table, tmp_path, tiny_base):
    spaced = tmp_path / "spaced.csv"
    pl.read_csv(table).with_columns(pl.col("kind") + " ").write_csv(spaced)
    assert run("init", spaced, "--out", tmp_path / "run.yaml")[0] == 0
    code, _, said = run("prepare", tmp_path / "run.yaml", "--set", f"base={tiny_base}")
    assert code == 0
    assert said.count("had white space around them, which was removed") == 1


def test_init_writes_over_nothing(run, table, tmp_path):
    out = tmp_path / "run.yaml"
    out.write_text("mine: true\n")
    code, _, said = run("init", table, "--out", out)
    assert code == 6
    assert "--force" in said
    assert out.read_text() == "mine: true\n"
    assert run("init", table, "--out", out, "--force")[0] == 0


def test_init_shows_what_the_model_would_read(run, table, tmp_path):
    code, shown, said = run("init", table, "--out", tmp_path / "run.yaml")
    assert code == 0, said
    rows = pl.read_csv(table)
    assert "Three records as the model reads them:" in shown
    assert f"{rows['query'][0]} → {rows['kind'][0]}" in shown
    code, shown, said = run("init", table, "--out", tmp_path / "other.yaml", "--task", "tag")
    assert code == 3
    assert "--text" in said


def test_init_takes_the_row_of_the_header(run, tmp_path):
    (tmp_path / "a.csv").write_text("good,the card came\nbad,it did not\n" + "good,all is well\nbad,nothing works\n" * 10, encoding="utf-8")
    code, shown, said = run("init", tmp_path / "a.csv", "--out", tmp_path / "run.yaml")
    assert code == 0, said
    assert "column_2" in shown
    assert "first line of a.csv seems to contain values" in said
    code, shown, said = run("init", tmp_path / "a.csv", "--out", tmp_path / "run.yaml", "--force", "--header", "1")
    assert code == 0, said
    assert "the card came" in shown


def test_fit_takes_data(run, table, tmp_path, tiny_base, monkeypatch, home):
    monkeypatch.chdir(tmp_path)
    settings = ["--set", f"base={tiny_base}", "--set", "method=head", "--set", "training.epochs=1"]
    shutil.copy(table, tmp_path / "订单.csv")
    code, shown, said = run("fit", "订单.csv", *settings)
    assert code == 0, said
    assert "Three records as the model reads them:" in shown
    assert "订单@live" in said
    assert home.get("models", "订单")
    assert yaml.safe_load((tmp_path / "run.yaml").read_text(encoding="utf-8"))["data"]["source"] == "订单.csv"
    (tmp_path / "run.yaml").write_text("mine: true\n", encoding="utf-8")
    code, _, said = run("fit", "订单.csv", *settings)
    assert code == 6
    assert "vertune init 订单.csv" in said


def test_train_takes_the_dataset_that_is_there(run, home, run_yaml):
    code, shown, said = run("train", run_yaml)
    assert code == 0, said
    assert len(home.shelf("datasets")) == 1
    assert len(home.shelf("models")) == 2
    assert "accuracy" in shown
    assert "chosen " not in shown, "only method: auto has a reason"
    assert "vertune evaluate support" in said


def test_fit_keeps_the_alias_that_is_there(run, home, run_yaml):
    before = home.aliases()["support@live"]
    code, shown, said = run("fit", run_yaml, "--set", "seed=1")
    assert code == 0, said
    assert home.aliases()["support@live"] == before
    assert verdict(read_json(home.shelf("reports")[-1].folder / "metrics.json")).headline in said.splitlines()[-1]
    assert f"vertune compare support@live {home.shelf('models')[-1].id}" in said
    assert "report.html" in shown


@pytest.mark.parametrize("command", ["fit", "train"])
def test_a_stopped_training_says_how_it_goes_on(run, home, run_yaml, monkeypatch, command):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vertune.learning.session.train", stop)
        code, _, said = run(command, run_yaml, "--set", "seed=7")
    assert code == 130
    assert f"vertune train {run_yaml} --resume --set seed=7" in said
    code, _, said = run("train", run_yaml, "--resume", "--set", "seed=7")
    assert code == 0, said


def test_what_is_stopped_after_training_is_not_said_to_go_on(run, home, run_yaml, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("vertune.steps.fit.evaluate", stop)
    code, _, said = run("fit", run_yaml, "--set", "seed=8")
    assert code == 130
    assert "--resume" not in said


def test_evaluate_on_a_split_and_on_a_file(run, home, table):
    code, shown, said = run("evaluate", "support", "--split", "validation")
    assert code == 0, said
    assert "accuracy" in shown
    assert "majority" in shown
    code, shown, said = run("evaluate", "support@live", "--data", table, "--json")
    assert code == 0, said
    assert json.loads(shown)["rows"] == 60


@pytest.mark.parametrize(
    ("ends", "said", "colour"), [((-0.3, -0.1), "Don't use this model", "bold red"), ((0.1, 0.3), "Use this model", "green")]
)
def test_evaluate_ends_with_what_to_do(home, capsys, monkeypatch, ends, said, colour):
    from vertune.cli import evaluate, output

    report = home.begin("reports", "judged")
    figures = measured(sum(ends) / 2, *ends, baseline=0.5) | {"notes": ["A note."]}
    write_json(report.folder / "metrics.json", figures)
    notes = []
    monkeypatch.setattr(output, "note", lambda text, style="dim": notes.append((text, style)))
    evaluate.show(report)
    evaluate.advise(report)
    shutil.rmtree(report.folder)
    assert notes[0] == ("A note.", "yellow")
    assert notes[-1][0].startswith(said)
    assert notes[-1][1] == colour


def test_fit_ends_with_an_error_if_a_baseline_is_better(run, home, run_yaml, monkeypatch):
    losing(monkeypatch)
    before = home.aliases()
    code, _, said = run("fit", run_yaml, "--set", "seed=5", "--set", "name=other")
    assert code == 7
    assert home.aliases() == before
    assert f"vertune alias other@live {home.shelf('models')[-1].id}" in said.splitlines()[-1]
    code, _, said = run("fit", run_yaml, "--set", "seed=5", "--set", "name=other", "--accept")
    assert code == 0, said
    assert home.aliases()["other@live"] == home.shelf("models")[-1].id


def test_evaluate_counts_the_rows_of_a_file_that_can_not_be_read(run, home, tmp_path):
    (tmp_path / "more.csv").write_text("query,kind\ntell me of rome,place\ntell me of rice,food,and,more\ntell me of soup,food\n")
    code, shown, said = run("evaluate", "support", "--data", tmp_path / "more.csv", "--json")
    assert code == 0, said
    assert (json.loads(shown)["rows"], json.loads(shown)["rejected"]) == (2, 1)


def test_evaluate_reads_the_columns_that_the_user_names(run, home, tmp_path):
    file = tmp_path / "more.csv"
    file.write_text("Question,Answer\ntell me of rome,place\ntell me of soup,food\n")
    code, shown, said = run("evaluate", "support", "--data", file, "--text", "Question", "--label", "Answer", "--json")
    assert code == 0, said
    assert json.loads(shown)["rows"] == 2
    assert "Name the column with the text: --text COLUMN." in run("evaluate", "support", "--data", file)[2]
    missing = run("evaluate", "support", "--data", file, "--text", "Question")[2]
    assert "no column 'kind' with the right answers; its columns are: Question, Answer. Name this column: --label COLUMN." in missing
    assert "Did you mean 'Answer'?" in run("evaluate", "support", "--data", file, "--text", "Question", "--label", "Anser")[2]
    assert "they name columns of a file" in run("evaluate", "support", "--label", "Answer")[2]


@pytest.mark.parametrize("command", ["prepare", "train"])
def test_data_in_place_of_a_config_is_called_data(run, tmp_path, command):
    (tmp_path / "rows.csv").write_text("text,label\na,b\n")
    (tmp_path / "rows.json").write_text('[{"text": "a", "label": "b"}]')
    for name in ("rows.csv", "rows.json"):
        code, _, said = run(command, tmp_path / name)
        assert code == 2
        assert said.strip().endswith(f"vertune init {tmp_path / name}")


def test_predict_a_text(run, model):
    code, shown, said = run("predict", "support", "tell me 3 of paris and rome")
    assert code == 0, said
    assert shown.splitlines()[0].startswith("label ")
    answer = json.loads(run("predict", model.folder, "tell me 3 of paris and rome", "--json")[1])
    assert set(answer) == {"label", "probability", "probabilities", "truncated"}


def test_predict_lines_of_standard_input(run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('some bread\n\n{"query": "paris"}\n{"text": "rome"}\n'))
    code, shown, said = run("predict", "support", "-")
    assert code == 0, said
    assert len([json.loads(line)["label"] for line in shown.splitlines()]) == 3


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_predict_says_that_standard_input_is_not_utf8(run, monkeypatch, errors):
    given = io.BytesIO("bread\n\u7f8e\u5473\n".encode("gb18030"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(given, encoding="utf-8", errors=errors))
    code, shown, said = run("predict", "support", "-")
    assert (code, shown) == (3, "")
    assert "is not UTF-8" in said


@pytest.mark.parametrize("broken", ["{broken", '{"a": ' * 100_000, '{"query": ' + "9" * 5000])
def test_predict_says_which_line_is_broken(run, monkeypatch, broken):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"some bread\n{broken}\n"))
    code, _, said = run("predict", "support")
    assert code == 3
    assert "Line 2" in said


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_predict_a_file(run, tmp_path, form):
    given, out = tmp_path / "in.csv", tmp_path / f"out.{form}"
    pl.DataFrame({"id": [1, 2, 3], "query": ["bread", "", "paris"]}).write_csv(given)
    code, _, said = run("predict", "support", "--file", given, "--out", out)
    assert code == 0, said
    assert "1 row" in said or "1 rows" in said
    read = {"csv": pl.read_csv, "jsonl": pl.read_ndjson, "parquet": pl.read_parquet}[form](out)
    assert read.height == 3
    assert {"id", "query", "answer_label", "answer_probability", "answer_error"} <= set(read.columns)
    assert read["answer_label"].null_count() == 1
    assert "empty" in read["answer_error"][1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--file", "x.csv"], "--out answers.csv"),
        (["--out", "x.csv"], "--out needs --file"),
        (["a", "b"], "2 texts were given"),
        (["--file", "x.csv", "--out", "y.xlsx"], ".csv, .jsonl, .parquet"),
    ],
)
def test_predict_says_how_it_is_written(run, words, said):
    code, _, shown = run("predict", "support", *words)
    assert code == 2
    assert said in shown


def test_predict_names_the_models_that_there_are(run, model):
    code, _, said = run("predict", "suport", "a text")
    assert code == 5
    assert model.id in said
    assert "Did you mean 'support'?" in said


def test_show_begins_with_what_a_user_wants_to_know(run, home, model):
    code, shown, said = run("show", "support")
    assert code == 0
    lines = shown.splitlines()
    assert lines[0] == model.id
    assert lines[1].split(maxsplit=1)[1] == "classify: reads text; 2 labels: food, place"
    assert lines[2].startswith("on test")
    assert "95 % interval" in lines[2]
    assert lines[3].startswith("on validation")
    assert "train 43" in shown
    assert "support@live" in shown
    assert "data_hash" not in shown
    assert "fingerprint" not in shown
    assert 'vertune predict support "a text"' in said
    complete = run("show", "support", "--all")[1]
    assert model.manifest["data_hash"] in complete
    assert "fingerprint" in complete


def test_show_describes_everything_in_a_home(run, home, model):
    dataset, report = home.shelf("datasets")[0], home.shelf("reports")[0]
    backbone = home.finish(home.begin("backbones", "base", parents=[model.id]))
    (backbone.folder / "verticals" / model.id).mkdir(parents=True)
    failed = home.begin("models", "support", step="train", parents=[dataset.id])
    failed.update(status="failed", error="DataError: no rows")
    expected = {
        dataset.id: ["a dataset for classify", "train 43", "queries.csv", model.id],
        report.id: [f"a report on {model.id}", "on test", "report.html"],
        backbone.id: ["several models share", model.id],
        failed.id: ["unfinished run of the step train", "failed", "no rows", dataset.id],
    }
    for id, texts in expected.items():
        code, shown, said = run("show", id)
        assert code == 0, said
        assert not [text for text in texts if text not in shown], shown
        assert f"vertune show {id} --all" in said


def test_list_states_the_figures_of_test_rows(run, model):
    (line,) = [line for line in run("list", "models")[1].splitlines() if model.id in line]
    assert "test accuracy" in line
    assert "validation accuracy" not in line


def test_list_show_alias_compare(run, model):
    code, shown, _ = run("list")
    assert code == 0
    assert model.id in shown
    assert "support@live" in shown
    assert json.loads(run("list", "models", "--json")[1])["models"][0]["id"] == model.id
    assert run("list", "modles")[0] == 2
    assert json.loads(run("show", "support@live", "--json")[1])["step"] == "train"
    assert run("show", "nothing")[0] == 2
    assert run("alias", "support@next", model.id)[1].strip() == f"support@next points to {model.id}"
    assert "support@next" in run("alias")[1]
    assert run("alias", "support@next")[0] == 2
    code, shown, _ = run("compare", "support", model.id)
    assert code == 0
    assert "95 % interval" in shown


def test_an_empty_home_says_where_to_start(capsys, tmp_path):
    assert leave(["list", "--home", str(tmp_path)]) == 0
    assert "vertune init" in capsys.readouterr().err


def test_remove_and_clean_refuse_what_an_alias_points_to(run, home, model):
    assert run("remove", "support")[0] == 2
    code, _, said = run("remove", model.id)
    assert code == 6
    assert "support@live" in said
    assert run("clean", "--unused")[0] == 0
    assert [artifact.id for artifact in home.shelf("models")] == [model.id]
    assert home.shelf("datasets")
    assert home.shelf("reports")
    reports = home.shelf("reports")
    assert run("remove", reports[0].id)[0] == 0
    assert home.shelf("reports") == reports[1:]


def test_export_and_bundle(run, home, tmp_path):
    code, shown, said = run("export", "support", "sentence_transformers", tmp_path / "out")
    assert code == 0, said
    assert "outputs equal the model's" in shown
    assert run("export", "support", "sentence_transformers", tmp_path / "out")[0] == 6
    code, _, said = run("export", "support", "transformers", tmp_path / "other")
    assert code == 2
    assert "pooling=native" in said
    assert not (tmp_path / "other").exists()
    code, shown, said = run("bundle", "support", tmp_path / "bundle")
    assert code == 0, said
    assert run("predict", tmp_path / "bundle", "some bread")[0] == 0


def test_doctor_lists_every_optional_package(run, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = json.loads(run("doctor", "--json")[1])
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name not in {"all", "dev", "docs"}}
    assert {"fastapi", "uvicorn", "torch"} <= set(found["packages"])
    installed = {re.match(r"[\w.-]+", line)[0].lower() for lines in extras.values() for line in lines}
    assert installed >= set(found["packages"])
    assert "HF_HUB_OFFLINE" in found["hub"]
    assert "fine" in found["hub"]


@pytest.mark.enable_socket
def test_doctor_says_whether_the_hub_is_reached(run, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")

        def refuse():
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        assert json.loads(run("doctor", "--json")[1])["hub"] == f"http://127.0.0.1:{port} can be reached"
        thread.join()
    assert "can't be reached" in json.loads(run("doctor", "--json")[1])["hub"]


def test_doctor(run, tiny_base, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, shown, _ = run("doctor", "--base", tiny_base)
    assert code == 0
    assert f"{tiny_base}: found in" in shown
    assert "threads" in shown
    assert "not on this machine" in run("doctor", "--base", "nobody/nothing")[1] or "neither" in run("doctor", "--base", "./nothing")[1]
