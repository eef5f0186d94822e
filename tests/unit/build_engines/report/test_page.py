"""The report: it reads back as it was, says what became of each variant and why, and is written whole."""

import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image
from pydantic import TypeAdapter

from build_engines.errors import UnwritableError
from build_engines.judge import Accuracy, Gate, Labelled, Race, Timing, Verdict, judge
from build_engines.machine import Machine
from build_engines.pictures import PictureWords
from build_engines.report import Report, write
from build_engines.report.files import to_chart
from build_engines.report.page import to_markdown
from build_engines.report.report import latencies, to_json
from build_engines.results import Decision, Measured, Published, Result, Table
from build_engines.values import Compiler, Precision

RUNTIME = "ONNX Runtime 1.24.4, 2 CPU threads"


def accuracy(lost: int = 30, gained: int = 10) -> Accuracy:
    counts = Labelled((851 + gained - lost) / 1000, 0.99, 0.851, 1 / 3, lost, gained, 0.1)
    return Accuracy(1000, 0.985, 0.1234567, 0.0123, counts)


def timings(first: float, *batches: int) -> tuple[Timing, ...]:
    return tuple(Timing(batch, first * batch, 1.5 * first * batch, 1000 / first, 20) for batch in batches or (1, 2, 4))


def raced(first: float, baseline: float, against: Precision) -> Race:
    return Race(against, RUNTIME, timings(first), timings(baseline), (baseline / first,) * 3, (20, 19, 20), (1, 1, 1))


FP32 = Result(
    entry="pets",
    precision=Precision.FP32,
    compiler=Compiler.NONE,
    measured=Measured(
        runtime=RUNTIME,
        graph_size=3_100_000,
        files={"model.onnx": "ab" * 32},
        parity={"parity.max_abs_diff": "4.5e-07"},
        timings=timings(8.0),
    ),
    decision=Decision(judge(accuracy(0, 0), None, Gate(), no_race="FP32 has nothing above it")),
    published=Published(1, unchanged=True),
    seconds={"source": 1.25, "export": 3.5},
)
FP16 = Result(
    entry="pets_fp16",
    precision=Precision.FP16,
    compiler=Compiler.NONE,
    measured=Measured(
        runtime=RUNTIME,
        graph_size=1_600_000,
        accuracy=accuracy(0, 0),
        accuracy_runtime=RUNTIME,
        race=raced(10.0, 8.0, Precision.FP32),
    ),
    decision=Decision(Verdict(passed=False, failures=("it is slower",), notes=())),
)
RACED_INT8 = Measured(
    runtime=RUNTIME,
    graph_size=1_700_000,
    accuracy=accuracy(),
    accuracy_runtime=RUNTIME,
    race=raced(5.0, 10.0, Precision.FP16),
    sensitivity=Table(("Block", "Loss"), (("blocks.0|a", "0.1"), ("blocks.1", "0.2"))),
)
INT8 = Result(
    entry="pets_int8",
    precision=Precision.INT8,
    compiler=Compiler.NONE,
    measured=RACED_INT8,
    decision=Decision(judge(accuracy(), raced(5.0, 10.0, Precision.FP16), Gate()), forced=True),
    published=Published(3),
)
MEASURED_ENGINE = Measured(
    runtime="TensorRT for RTX 1.7",
    graph_size=1_700_000,
    engine_size=2_200_000,
    accuracy=accuracy(10, 8),
    accuracy_runtime=f"{RUNTIME}, without its optimiser",
)
ENGINE = Result(
    entry="pets_int8_rtx",
    precision=Precision.INT8,
    compiler=Compiler.RTX,
    measured=MEASURED_ENGINE,
    decision=Decision(judge(accuracy(10, 8), None, Gate(), no_race="there is no GPU on this machine")),
    published=Published(1),
)
FP8 = Result("pets_fp8", Precision.FP8, Compiler.RTX, failure="NaN\non 3 pictures")


def report(*variants: Result) -> Report:
    return Report(
        model="vit_tiny_patch16_224",
        entry="pets",
        date="2026-11-23T04:00:00+00:00",
        max_batch_size=4,
        machine=Machine("A CPU", 2, "", {"torch": "2.15.0"}),
        gate=Gate(),
        calibration=PictureWords("pets.zip, train", 512, "cd" * 32),
        evaluation=PictureWords("pets.zip, test", 1000, "ef" * 32),
        variants=variants,
    )


def rated(agreement: float) -> Measured:
    return dataclasses.replace(MEASURED_ENGINE, accuracy=Accuracy(10, agreement, 0.1, 0.01))


def with_race(result: Result, race: Race) -> Result:
    return dataclasses.replace(result, measured=dataclasses.replace(RACED_INT8, race=race))


def with_timings(result: Result, first: float) -> Result:
    assert result.measured is not None
    return dataclasses.replace(result, measured=dataclasses.replace(result.measured, timings=timings(first)))


WHOLE = report(FP32, FP16, INT8, ENGINE, FP8)


def rows(page: str, first: str) -> list[str]:
    """The cells of the first row of a table that starts with `first`."""
    line = next(line for line in page.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_report_reads_back_as_it_was() -> None:
    assert TypeAdapter(Report).validate_json(to_json(WHOLE)) == WHOLE
    assert TypeAdapter(Report).validate_json(to_json(report())) == report()
    assert to_markdown(report()).startswith("# Build of pets")


def test_the_json_has_a_schema_and_plain_words() -> None:
    content = json.loads(to_json(WHOLE))
    assert content["schema"] == 2
    assert [each["outcome"] for each in content["variants"]] == [
        "unchanged",
        "refused",
        "published",
        "published",
        "failed",
    ]
    assert content["variants"][1]["measured"]["race"]["ratios"] == [0.8, 0.8, 0.8]


def test_the_page_starts_with_what_became_of_each_variant_and_why() -> None:
    assert to_markdown(WHOLE).splitlines()[:9] == [
        "# Build of pets",
        "",
        "Built from `vit_tiny_patch16_224` on 2026-11-23. "
        "Of 5 variants: 2 published, 1 refused, 1 unchanged, 1 failed.",
        "",
        "- FP32 (`pets`): **unchanged**, version 1 is of the same inputs",
        "- FP16 (`pets_fp16`): **refused**, not published: it is slower",
        "- INT8 (`pets_int8`): **published as version 3, by force**, although the gate refuses it: top-1 fell by 2.00 "
        "points (85.10 % to 83.10 %), at most 1.00 is allowed",
        "- INT8, TensorRT for RTX (`pets_int8_rtx`): **published** as version 1",
        "- FP8, TensorRT for RTX (`pets_fp8`): **failed**, not published: NaN on 3 pictures",
    ]


def test_one_that_is_published_after_this_report_says_so() -> None:
    page = to_markdown(report(FP32, dataclasses.replace(INT8, published=None)))
    assert "- INT8 (`pets_int8`): **passed**, will be published next: top-1 fell by" in page


def test_what_happened_in_a_running_triton_is_said() -> None:
    page = to_markdown(report(dataclasses.replace(ENGINE, published=Published(1, warning="it was too large"))))
    assert "**published** as version 1; it was too large" in page


def test_the_first_table_has_all_variants_side_by_side() -> None:
    page = to_markdown(WHOLE)
    assert rows(page, "Variant")[-1] == "Pictures/s at batch 4"
    assert rows(page, "FP32") == ["FP32", "unchanged", "3.1 MB", "-", "-", "-", "-", "8.00 ms", "125"]
    assert rows(page, "FP16") == [
        *("FP16", "refused", "1.6 MB", "85.10 %", "+0.00 points", "98.50 %", "0.80 times FP32", "10.0 ms", "100")
    ]
    assert rows(page, "INT8")[1:5] == ["published by force", "1.7 MB", "83.10 %", "-2.00 points"]
    assert rows(page, "INT8, TensorRT for RTX")[2] == "2.2 MB"
    assert rows(page, "FP8, TensorRT for RTX")[1:] == ["failed", *"-------"]


def test_columns_in_which_nothing_was_measured_are_left_out() -> None:
    page = to_markdown(report(dataclasses.replace(ENGINE, measured=rated(0.99))))
    assert rows(page, "Variant") == ["Variant", "Outcome", "Size", "Same top-1 as FP32"]


def test_latencies_of_different_races_are_made_comparable() -> None:
    """The machine was slow while INT8 was raced; FP16 is 0.8 times as fast as FP32, INT8 twice as fast as FP16."""
    loaded = with_race(INT8, raced(15.0, 30.0, Precision.FP16))
    whole = report(with_timings(FP32, 20.0), FP16, loaded)
    assert [latencies(whole, each)[1] for each in whole.variants] == pytest.approx([8.0, 10.0, 5.0])


def test_a_baseline_that_is_no_variant_leads_to_its_own_times() -> None:
    assert latencies(report(INT8), INT8) == pytest.approx({1: 5.0, 2: 10.0, 4: 20.0})


def test_engines_are_not_compared_with_what_a_cpu_runs() -> None:
    engine = dataclasses.replace(with_timings(FP32, 0.5), compiler=Compiler.TENSORRT)
    whole = report(FP32, engine)
    assert [latencies(whole, each)[1] for each in whole.variants] == [8.0, 0.5]
    faster = dataclasses.replace(with_race(INT8, raced(0.2, 0.4, Precision.FP32)), compiler=Compiler.TENSORRT)
    assert latencies(report(FP32, engine, faster), faster)[1] == pytest.approx(0.2)


def test_details_say_how_fast_at_each_batch_size() -> None:
    page = to_markdown(WHOLE)
    assert "2.00 times as fast as FP16 over all batch sizes, faster in 59 of 60 pairs of runs:" in page
    detail = page[page.index("## INT8: `pets_int8`") :]
    assert rows(detail, "Batch") == ["Batch", "p50", "p50 of FP16", "Speed", "p99", "Pictures/s", "Runs"]
    assert rows(detail, "4") == ["4", "20.0 ms", "40.0 ms", "2.00 times", "30.0 ms", "200", "20"]
    assert "Where there are fewer than 100 runs, p99 is the slowest." in page


def test_batch_sizes_that_were_left_out_are_named() -> None:
    sentence = "Batches above 4 were left out"
    assert sentence not in to_markdown(WHOLE)
    assert sentence in to_markdown(dataclasses.replace(WHOLE, max_batch_size=32))


def test_the_page_says_what_was_not_measured_and_where_accuracy_was() -> None:
    page = to_markdown(WHOLE)
    assert "- Speed was not judged: there is no GPU on this machine" in page
    assert "- Speed was not measured of INT8, TensorRT for RTX; the notes there say why." in page
    assert f"Accuracy, in {RUNTIME}, without its optimiser:" in page
    elsewhere = "which is not the one that serves it"
    assert elsewhere in page
    assert elsewhere not in to_markdown(report(FP32, FP16, INT8))


def test_the_page_gives_accuracy_with_its_interval_and_its_pictures() -> None:
    detail = to_markdown(WHOLE)
    assert "- Top-1 83.10 %, FP32 85.10 %: -2.00 points, with 95 % certainty between -3.24 and -0.75" in detail
    assert "- Right in FP32 and wrong here: 30 pictures; the other way round: 10" in detail
    assert "- Top-5 99.00 %, FP32 33.33 %" in detail
    assert "1,000 pictures of pets.zip, test (sha256 `efef" in detail
    assert "512 pictures of pets.zip, train (sha256 `cdcd" in detail


def test_the_page_has_files_steps_parity_and_machine() -> None:
    page = to_markdown(WHOLE)
    assert rows(page, "sha256 of model.onnx")[1] == f"`{'ab' * 32}`"
    assert rows(page, "steps")[1] == "source 1.2 s, export 3.5 s"
    assert rows(page, "parity.max_abs_diff")[1] == "4.5e-07"
    assert rows(page, "CPU")[1] == "A CPU, 2 CPUs in use"
    assert rows(page, "GPU")[1] == "none"
    assert rows(page, "torch")[1] == "2.15.0"
    assert "| blocks.0\\|a | 0.1 |" in page


def test_the_chart_shows_top_1_where_all_have_it_and_agreement_otherwise() -> None:
    chart = to_chart(report(FP32, FP16, INT8))
    assert chart.measure == "top-1"
    assert chart.limit == pytest.approx(84.1)
    assert [each.accuracy for each in chart.variants] == [None, pytest.approx(85.1), pytest.approx(83.1)]
    assert [each.refused for each in chart.variants] == [False, True, False]
    assert [each.label for each in chart.variants] == ["FP32", "FP16", "INT8"]
    mixed = to_chart(report(FP16, dataclasses.replace(ENGINE, measured=rated(0.97))))
    assert mixed.measure == "agreement with FP32"
    assert mixed.limit == pytest.approx(98.0)
    assert [each.accuracy for each in mixed.variants] == [pytest.approx(98.5), pytest.approx(97.0)]
    assert [each.label for each in mixed.variants] == ["FP16", "INT8, TensorRT for RTX"]
    assert mixed.variants[1].sizes == (("graph", 1_700_000), ("engine", 2_200_000))


def test_it_is_written_whole_and_again(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "pets"
    for whole in (WHOLE, report(FP32, INT8)):
        write(whole, folder)
        assert sorted(file.name for file in folder.iterdir()) == ["report.json", "report.md", "report.png"]
        assert TypeAdapter(Report).validate_json((folder / "report.json").read_text()) == whole
        assert (folder / "report.md").read_text() == to_markdown(whole, chart_file="report.png")
        assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_of_nothing_has_no_chart_of_the_build_before(tmp_path: Path) -> None:
    write(WHOLE, tmp_path)
    write(report(FP8), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.json", "report.md"]
    assert "report.png" not in (tmp_path / "report.md").read_text()


def test_no_path_of_this_machine_is_in_it(tmp_path: Path) -> None:
    write(WHOLE, tmp_path)
    for name in ("report.md", "report.json"):
        assert f"{tmp_path}/" not in (tmp_path / name).read_text()
    with Image.open(tmp_path / "report.png") as chart:
        assert set(chart.info) == {"Software", "dpi"}


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableError, match=r"cannot write the report into .*file/reports"):
        write(WHOLE, tmp_path / "file" / "reports")
