"""What is shown of a foreign text."""

import pytest

from service.reasons import one_line

TRITON = (
    "Internal: InvalidProtobuf: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from "
    "/srv/models/broken/1/model.onnx failed:Protobuf parsing failed.\n\nAt:\n  /usr/lib/python3/x.py(753): create\n"
)


def test_the_first_line_is_shown_with_the_names_of_files_and_without_folders() -> None:
    assert one_line(TRITON) == (
        "Internal: InvalidProtobuf: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from model.onnx "
        "failed:Protobuf parsing failed."
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("\n \n", ""),
        ("\n  late  start \x00\x1b[31m", "late start [31m"),
        ("at '/etc/passwd'", "at 'passwd'"),
        ("at C:\\\\models\\\\m.plan, twice", "at C:m.plan, twice"),
        ("https://hub.example/x/y.onnx is away", "https:y.onnx is away"),
        ("resize / crop", "resize / crop"),
        ("TensorRT 10.3 / 10.4", "TensorRT 10.3 / 10.4"),
    ],
)
def test_no_path_no_control_sign_and_no_second_line_is_left(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_it_is_short() -> None:
    assert len(one_line("x" * 100_000)) == 303
