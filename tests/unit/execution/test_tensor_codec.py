from __future__ import annotations

import io
import zipfile
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from swarmharness.errors import InputError
from swarmharness.execution.skill import TENSOR_TYPES
from swarmharness.execution.tensor_arrays import from_arrays, read_npz, to_array, to_arrays
from swarmharness.execution.tensor_codec import (
    Tensor,
    TensorHeader,
    TensorHeaders,
    decode_tensors,
    encode_tensors,
)
from swarmharness.execution.tensor_values import tensor_of, values_of
from swarmharness.protocol.codec import encode


def packed(*headers: TensorHeader, data: bytes = b"") -> bytes:
    header = encode(TensorHeaders(headers))
    return len(header).to_bytes(4, "big") + header + data


@pytest.mark.parametrize("dtype", [dtype for dtype in TENSOR_TYPES if dtype not in ("bfloat16", "string")])
def test_arrays_of_every_type_come_back_as_they_were(dtype: str) -> None:
    arrays = {
        "a": np.arange(6).reshape(2, 3).astype(dtype),
        "scalar": np.array(1, dtype),
        "none": np.zeros((0, 4), dtype),
    }
    back = to_arrays(decode_tensors(encode_tensors(from_arrays(arrays))))
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert (back[name] == array).all()


def test_big_endian_and_strided_arrays_travel_as_little_endian_rows() -> None:
    array = np.arange(12, dtype=">i4").reshape(3, 4).T
    (tensor,) = from_arrays({"x": array})
    assert tensor.dtype == "int32"
    assert tensor.shape == (4, 3)
    assert bytes(tensor.data) == array.astype("<i4").tobytes(order="C")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut off"),
        (b"\x00\x00", "cut off"),
        (b"\x00\x00\x00\x09abc", "cut off"),
        (b"\xff\xff\xff\xff" + bytes(100), "cut off"),
        (b"\x00\x00\x00\x01\xc1", "TensorHeaders: invalid opcode"),
        (packed(TensorHeader("x", "float32", (4,)), data=bytes(15)), "'x' is cut off"),
        (packed(TensorHeader("x", "float32", (4,)), data=bytes(17)), "1 bytes too many"),
        (packed(TensorHeader("x", "complex64", (1,)), data=bytes(8)), "'complex64' are not supported"),
        (packed(TensorHeader("x", "float32", (2**20, 2**20)), data=bytes(8)), "'x' is cut off"),
        (packed(TensorHeader("x", "float32", (2**40, 2**40)), data=bytes(8)), "the shape of 'x' is too large"),
        (packed(TensorHeader("x", "float32", (2**40, 2**40, 0))), "the shape of 'x' is too large"),
        (packed(TensorHeader("x", "int8", (1,)), TensorHeader("x", "int8", (1,)), data=bytes(2)), "occurs twice"),
    ],
)
def test_damaged_tensors_are_refused_with_a_reason(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_tensors(data)


def test_encoding_data_that_does_not_fit_its_shape_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="x: 3 bytes"):
        encode_tensors((Tensor("x", "float32", (1,), b"abc"),))


def test_npz_files_come_back_as_they_were() -> None:
    arrays: dict[str, Any] = {
        "a": np.eye(2, dtype=np.float16),
        "b": np.array([1, 2], np.int64),
        "c": np.array([["Ei", "größer"]]),
        "d": np.array([1.0, -2.5], ml_dtypes.bfloat16),  # which NumPy writes as void
    }
    back = {tensor.name: tensor for tensor in read_npz(npz(**arrays), "x.npz", size_bytes_max=10_000)}
    assert {name: tensor.dtype for name, tensor in back.items()} == {
        "a": "float16",
        "b": "int64",
        "c": "string",
        "d": "bfloat16",
    }
    assert values_of(back["c"]) == ["Ei", "größer"]
    assert values_of(back["d"]) == [1.0, -2.5]


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


TEXTS = ["", "a", "größer", "二", "nul\0"]


@pytest.mark.parametrize("array", [np.array(TEXTS, object), np.array(TEXTS[:-1])], ids=["objects", "fixed width"])
def test_arrays_of_texts_come_back_as_objects(array: Any) -> None:
    (tensor,) = decode_tensors(encode_tensors(from_arrays({"t": array.reshape(-1, 1)})))
    assert (tensor.dtype, tensor.shape) == ("string", (len(array), 1))
    back = to_array(tensor)
    assert back.dtype == object
    assert back.ravel().tolist() == array.tolist()


def test_objects_that_are_no_texts_and_texts_that_are_no_utf_8_are_refused() -> None:
    with pytest.raises(InputError, match="of which not all are texts"):
        from_arrays({"x": np.array(["a", 1], object)})
    with pytest.raises(InputError, match="lone surrogate"):
        from_arrays({"x": np.array(["\ud800"], object)})


def test_bfloat16_is_the_rounded_upper_half_of_float32_in_numpy_and_without_it() -> None:
    numbers = np.array(
        [0.0, 1.0, -3.14159, 1e-40, 3.39e38, 1.00390625, 1.01171875, np.inf, -np.inf, np.nan], np.float32
    )
    wanted = numbers.astype(ml_dtypes.bfloat16)
    tensors = (
        *from_arrays({"x": numbers}, bfloat16={"x"}),
        *from_arrays({"x": wanted}),
        tensor_of("x", "bfloat16", numbers.shape, numbers.tolist()),
    )
    for tensor in tensors:
        assert tensor.dtype == "bfloat16"
        assert bytes(tensor.data)[:-2] == wanted.tobytes()[:-2]  # there are many NaNs
        np.testing.assert_array_equal(to_array(tensor), wanted.astype(np.float32))
        np.testing.assert_array_equal(np.array(values_of(tensor), np.float32), wanted.astype(np.float32))


def test_an_npy_file_is_one_tensor_called_x() -> None:
    stream = io.BytesIO()
    np.save(stream, np.ones(3, np.float32))
    (tensor,) = read_npz(stream.getvalue(), "x.npy", size_bytes_max=10_000)
    assert (tensor.name, tensor.shape) == ("x", (3,))


@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_claims_more_than_there_is_costs_no_memory(packed: bool) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }".ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)
    if packed:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("x.npy", data)
        data = stream.getvalue()
    with pytest.raises(
        InputError, match="big: its header claims 4398046511104 bytes of numbers, and it has 192 in all"
    ):
        read_npz(data, "big", size_bytes_max=10_000)


def test_a_pickle_is_not_loaded() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"evil\.npy: not an \.npz file of numbers"):
        read_npz(stream.getvalue(), "evil.npy", size_bytes_max=10_000)


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_is_unpacked() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(1_000_000))
    with pytest.raises(InputError, match="1000000 bytes unpacked; at most 10000"):
        read_npz(stream.getvalue(), "bomb.npz", size_bytes_max=10_000)


def test_complex_arrays_have_no_wire_form() -> None:
    with pytest.raises(InputError, match="the types are"):
        from_arrays({"x": np.array([1j])})
