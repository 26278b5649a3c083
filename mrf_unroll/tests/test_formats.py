"""From the scanner to the viewer: ISMRMRD and Pulseq in, NIfTI and DICOM out."""

import json
import sys
from dataclasses import replace

import ismrmrd
import nibabel
import numpy as np
import pydicom
import pypulseq
import pytest
from commands import error_of, run

from mrf_unroll.data.acquisitions import read_acquisition, volume_affine
from mrf_unroll.data.geometry import Geometry
from mrf_unroll.data.ismrmrd_files import write_ismrmrd
from mrf_unroll.data.pulseq_files import read_pulseq, write_pulseq
from mrf_unroll.data.scans import write_scans
from mrf_unroll.data.simulated import load_slice, simulate_scan
from mrf_unroll.protocol import Protocol, ProtocolOptions
from shared_utils import UserError

SIZE, FOV = (16, 16), (192.0, 240.0)
COS, SIN = np.cos(0.3), np.sin(0.3)
# Rows and columns of unlike size, turned about the left-right axis, 7 mm between slices.
OBLIQUE = Geometry.of((5, -3, 20), (1, 0, 0), (0, COS, SIN), (0, -SIN, COS), (12, 15, 7))


@pytest.fixture(scope="module")
def protocol():
    return Protocol(ProtocolOptions(schedule="jiang:30", image_size=16, samples=20, turns=2.0, num_coils=2))


@pytest.fixture(scope="module")
def slices(protocol):
    """Three slices of two coils, without the coil maps that raw data do not hold."""
    scans = [
        simulate_scan(load_slice("head:16", 0, None, seed, False, False), protocol, 2, 0.01, seed) for seed in range(3)
    ]
    return [
        replace(scan, coil_maps=None, dcf=None, noise_std=None, geometry=OBLIQUE.shifted(7 * place))
        for place, scan in enumerate(scans)
    ]


@pytest.fixture(scope="module")
def folder(slices, protocol, tmp_path_factory):
    """scan.mrd with scan.seq, and the same slices as scan.npz."""
    folder = tmp_path_factory.mktemp("formats")
    write_ismrmrd(folder / "scan.mrd", slices)
    write_pulseq(folder / "scan.seq", protocol.sequence, protocol.trajectory.numpy(), SIZE, FOV, 3)
    write_scans(folder / "scan.npz", slices)
    return folder


def test_a_sequence_file_gives_schedule_and_trajectory_back(folder, protocol):
    played = read_pulseq(folder / "scan.seq", SIZE)
    assert played.passes == 3 and played.sequence.same_as(protocol.sequence)
    assert np.abs(played.trajectory - protocol.trajectory.numpy()).max() < 5e-5
    # Half the field of view in y: half the cycles over a pixel there.
    narrow = read_pulseq(folder / "scan.seq", SIZE, (FOV[0] / 2, FOV[1]))
    assert np.allclose(narrow.trajectory, played.trajectory * np.array([0.5, 1]), atol=1e-6)


def test_a_sequence_without_inversion_and_with_phases(protocol, tmp_path):
    phases = np.where(np.arange(30) % 2, 180.0, 0.0)
    sequence = replace(protocol.sequence, ti_ms=None, phase_deg=phases, tr_ms=np.linspace(11, 13, 30).round(2))
    write_pulseq(tmp_path / "a.seq", sequence, protocol.trajectory.numpy(), SIZE, FOV)
    assert read_pulseq(tmp_path / "a.seq", SIZE).sequence.same_as(
        replace(sequence, tr_ms=np.append(sequence.tr_ms[:-1], sequence.tr_ms[-2]))
    )


@pytest.mark.parametrize("name", ["scan.mrd", "scan.npz"])
def test_slices_come_back_with_their_place(folder, slices, name):
    found = read_acquisition(folder / name)
    assert len(found) == 3
    for one, known in zip(found, slices, strict=True):
        assert np.array_equal(one.kspace, known.kspace) and np.array_equal(one.trajectory, known.trajectory)
        assert one.sequence.same_as(known.sequence) and one.image_size == SIZE
        assert np.allclose(one.geometry.position, known.geometry.position, atol=1e-4)
    affine = volume_affine(found)
    # Voxel (column 8, row 8, slice 0) is the centre; DICOM's left and back are the negative of NIfTI's right and front.
    assert np.allclose(affine @ [8, 8, 0, 1], [-5, 3, 20, 1], atol=1e-3)
    assert np.allclose(affine @ [9, 8, 0, 1], [-20, 3, 20, 1], atol=1e-3)
    assert np.allclose(affine @ [8, 9, 1, 1], [-5, 3 - 12 * COS + 7 * SIN, 20 + 12 * SIN + 7 * COS, 1], atol=1e-3)


def test_slices_that_are_no_stack_have_no_volume(slices):
    for other in (replace(OBLIQUE, row=OBLIQUE.normal, normal=-OBLIQUE.row), OBLIQUE.shifted(9), OBLIQUE):
        with pytest.raises(UserError, match="files of their own"):
            volume_affine([*slices[:2], replace(slices[2], geometry=other)])
        assert volume_affine([*slices[:2], replace(slices[2], geometry=other)], strict=False) is None
    assert volume_affine([slices[0], replace(slices[1], geometry=None)]) is None


def _rewritten(source, path, change, header=None):
    """A copy of an ISMRMRD file; ``change`` may replace an acquisition by a list of them."""
    with ismrmrd.Dataset(str(source), "dataset", create_if_needed=False) as old:
        xml = old.read_xml_header().decode()
        acquisitions = [old.read_acquisition(n) for n in range(old.number_of_acquisitions())]
    with ismrmrd.Dataset(str(path), "dataset", create_if_needed=True) as new:
        new.write_xml_header(header(xml) if header else xml)
        for acquisition in acquisitions:
            for one in change(acquisition):
                new.append_acquisition(one)
    return path


def test_partitions_of_a_stack_become_slices(folder, slices, tmp_path):
    stack = np.stack([scan.kspace for scan in slices])
    # k = 0 in the middle: the sum over the slices.
    encoded = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(stack, axes=0), axis=0, norm="ortho"), axes=0)

    def partition(one):
        one.idx.kspace_encode_step_2, one.idx.slice = one.idx.slice, 0
        one.data[:] = encoded[one.idx.kspace_encode_step_2, :, one.idx.repetition]
        one.position[:] = OBLIQUE.position.tolist()
        return [one]

    found = read_acquisition(
        _rewritten(
            folder / "scan.mrd",
            tmp_path / "stack.mrd",
            partition,
            lambda xml: xml.replace("<z>7.0</z>", "<z>21.0</z>").replace("<z>1</z>", "<z>3</z>"),
        )
    )
    assert len(found) == 3 and np.allclose(
        np.stack([one.kspace for one in found]), stack, atol=1e-5 * np.abs(stack).max()
    )
    assert np.allclose(found[2].geometry.position - found[1].geometry.position, 7 * OBLIQUE.normal, atol=1e-4)
    assert np.allclose(found[1].geometry.position, OBLIQUE.position, atol=1e-4)


def test_noise_whitens_the_coils_and_navigators_are_left_out(folder, slices, tmp_path):
    rng = np.random.default_rng(0)
    mix = np.array([[1.0, 0.6], [0.0, 0.5]])
    noise = mix @ (rng.standard_normal((2, 4000)) + 1j * rng.standard_normal((2, 4000)))
    measured = ismrmrd.Acquisition.from_array(noise.astype(np.complex64))
    measured.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    navigator = ismrmrd.Acquisition.from_array(noise[:, :3].astype(np.complex64))
    navigator.set_flag(ismrmrd.ACQ_IS_NAVIGATION_DATA)
    first = [measured, navigator]

    def add(one):
        return [first.pop(), one] if first else [one]

    found = read_acquisition(_rewritten(folder / "scan.mrd", tmp_path / "noise.mrd", add))
    # What made the white noise of deviation noise_std out of the coils' does the same to their samples.
    gain = found[0].kspace.reshape(2, -1) @ np.linalg.pinv(slices[0].kspace.reshape(2, -1))
    white = gain @ noise
    covariance = white @ white.conj().T / white.shape[1] / 2
    assert np.allclose(covariance, found[0].noise_std ** 2 * np.eye(2), atol=0.02 * found[0].noise_std ** 2)


def test_the_receiver_phase_is_taken_out(folder, slices, protocol, tmp_path):
    sequence = pypulseq.Sequence()
    sequence.read(str(folder / "scan.seq"))
    turned = pypulseq.Sequence(sequence.system)
    turned.definitions = dict(sequence.definitions)
    for number in sequence.block_durations:
        block = sequence.get_block(number)
        if block.adc is not None:
            block.adc.phase_offset = np.pi / 2
        turned.add_block(block)
    turned.write(str(tmp_path / "turned.seq"), create_signature=False)
    plain, other = (
        read_acquisition(folder / "scan.mrd", seq)[0] for seq in (folder / "scan.seq", tmp_path / "turned.seq")
    )
    assert np.allclose(other.kspace, 1j * plain.kspace, atol=1e-5 * np.abs(plain.kspace).max())


@pytest.mark.usefixtures("undrawn")
def test_reconstruction_from_the_scanner_equals_the_direct_one(folder, tmp_path):
    own = ("--method", "low_rank", "--rank", 4, "--grid", "20x20", "--also")
    assert (
        run(
            "reconstruct",
            folder / "scan.mrd",
            "--out",
            tmp_path / "a",
            "--seq",
            folder / "scan.seq",
            *own,
            "nifti,dicom,series",
        )
        == 0
    )
    assert run("reconstruct", folder / "scan.npz", "--out", tmp_path / "b", *own, "nifti") == 0
    a, b = (np.load(tmp_path / name / "maps.npz") for name in "ab")
    assert a["T1"].shape == (3, 16, 16)
    for name in ("T1", "T2", "PD"):
        # The gradient waveforms round the trajectory by some 1e-5 cycles per pixel: few voxels go to another atom.
        same = np.isclose(a[name], b[name], rtol=5e-3, atol=1e-4 * b[name].max())
        assert same.mean() > 0.97
        image = nibabel.load(tmp_path / "a" / f"{name}.nii.gz")
        assert np.array_equal(image.get_fdata(dtype=np.float32), a[name].transpose(2, 1, 0))
        assert np.allclose(image.affine, a["affine"]) and image.header["sform_code"] == 1
        assert np.allclose(image.header.get_zooms(), (15, 12, 7))
        for place in range(3):
            one = pydicom.dcmread(tmp_path / "a" / "dicom" / f"{name}_{place:03d}.dcm")
            values = float(one.RescaleSlope) * one.pixel_array
            assert np.allclose(values, a[name][place], atol=a[name].max() / 32767)
            # The first voxel: DICOM's axes are the negative of NIfTI's in x and y.
            assert np.allclose(one.ImagePositionPatient, (a["affine"] @ [0, 0, place, 1])[:3] * [-1, -1, 1], atol=1e-3)
            assert np.allclose(one.ImageOrientationPatient, [1, 0, 0, 0, COS, SIN], atol=1e-4)
            assert np.allclose(one.PixelSpacing, [12, 15]) and "DERIVED" in one.ImageType
    series = np.load(tmp_path / "a" / "series.npz")
    assert series["coefficients"].shape == (3, 4, 16, 16) and series["basis"].shape == (30, 4)
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert len(report["slices"]) == 3 and report["verdict"].startswith("slice ")
    (tmp_path / "a" / "T1.nii.gz").unlink()
    assert (
        run(
            "reconstruct",
            folder / "scan.mrd",
            "--out",
            tmp_path / "a",
            "--seq",
            folder / "scan.seq",
            *own,
            "nifti,dicom,series",
            "--resume",
        )
        == 0
    )
    assert (tmp_path / "a" / "T1.nii.gz").is_file()


@pytest.mark.usefixtures("undrawn")
def test_simulate_writes_what_reconstruct_reads(scratch, trained):
    assert run("simulate", "head:16", "--out", "scan.mrd", "--schedule", "jiang:30", "--samples", 20, "--turns", 2) == 0
    assert (
        run(
            "reconstruct",
            "scan.mrd",
            "--seq",
            "scan.seq",
            "--ckpt",
            trained,
            "--out",
            "maps",
            "--reference",
            "scan_maps.npz",
        )
        == 0
    )
    report = json.loads((scratch / "maps" / "report.json").read_text())
    assert not any("trajectory" in warning for warning in report["warnings"])


@pytest.mark.parametrize(
    ("package", "arguments", "said"),
    [
        ("ismrmrd", ("scan.mrd",), "pip install ismrmrd"),
        ("pypulseq", ("scan.mrd", "--seq", "scan.seq"), "pip install pypulseq"),
        ("nibabel", ("scan.npz", "--also", "nifti"), "pip install nibabel"),
        ("pydicom", ("scan.npz", "--also", "dicom"), "pip install pydicom"),
    ],
)
def test_a_package_that_is_missing_is_named(package, arguments, said, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(folder)
    assert run("reconstruct", *arguments, "--out", tmp_path / "out", "--method", "low_rank") == 2
    assert said in error_of(capsys) and not (tmp_path / "out").exists()


def _cut(one):
    return [] if one.idx.repetition == 7 else [one]


def _navigator(one):
    one.set_flag(ismrmrd.ACQ_IS_NAVIGATION_DATA)
    return [one]


def _moved(one):
    one.traj[:] = 40 * one.traj
    return [one]


@pytest.mark.parametrize(
    ("change", "header", "arguments", "said"),
    [
        (_cut, None, ("--seq", "scan.seq"), r"29 repetitions a slice, .*scan.seq plays 30"),
        (_cut, None, (), r"30 flip angles for 29 repetitions: give the sequence by --seq"),
        (_moved, None, (), r"traj"),
        (_navigator, None, (), "no acquisition of an image"),
        (
            lambda one: [one],
            lambda xml: xml.replace("<TI>18.0</TI>", "<TI>18.0</TI><TI>20.0</TI>"),
            (),
            "2 inversion times",
        ),
        (lambda one: [one], lambda xml: xml.replace("<x>240.0</x>", "<x>wide</x>"), (), "cannot be read as ISMRMRD"),
        (lambda one: [one], None, ("--seq", "scan.npz"), "cannot be read as a Pulseq sequence"),
        (lambda one: [one], None, ("--seq", "none.seq"), "none.seq not found"),
    ],
)
def test_raw_data_that_cannot_be_right_are_named(
    change, header, arguments, said, folder, tmp_path, capsys, monkeypatch
):
    import re

    path = _rewritten(folder / "scan.mrd", tmp_path / "bad.mrd", change, header)
    monkeypatch.chdir(folder)
    assert run("reconstruct", path, *arguments, "--out", tmp_path / "out", "--method", "low_rank") == 2
    assert re.search(said, error_of(capsys))


def test_a_sequence_file_is_for_ismrmrd(folder, tmp_path, capsys):
    own = ("--seq", folder / "scan.seq", "--out", tmp_path / "out", "--method", "low_rank")
    assert run("reconstruct", folder / "scan.npz", *own) == 2
    assert "leave --seq out" in error_of(capsys)
