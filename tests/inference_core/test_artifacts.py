"""Programs on disk: what was saved comes back, and nothing that was changed does."""

from __future__ import annotations

import functools
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import inference_core
from inference_core import ArtifactRefused, load_or_create_signing_key, load_program, load_verify_key, save_program
from tests.inference_core.programs import X, model_ubj, program
from tests.strategies import examples

FILES = ("manifest.json", "manifest.sig", "program.json", "model.ubj", "golden.json", "costs.json")


@pytest.fixture
def keys(tmp_path: Path):
    return load_or_create_signing_key(tmp_path / "sign.pem", tmp_path / "verify.pem"), load_verify_key(tmp_path / "verify.pem")


@pytest.fixture
def saved(tmp_path: Path, keys) -> Path:
    save_program(program(), model_ubj(), tmp_path / "v1", keys[0], {"ap": 0.7})
    return tmp_path / "v1"


def test_a_loaded_program_answers_as_the_saved_one(saved, keys):
    loaded, original = load_program(saved, keys[1]), program()
    assert (loaded.version, loaded.rules, loaded.schema, loaded.policy, loaded.calibration, loaded.list_names) == (
        original.version,
        original.rules,
        original.schema,
        original.policy,
        original.calibration,
        original.list_names,
    )
    ours, theirs = loaded.run(X), original.run(X)
    for name in ("rule_outcomes", "margin", "probability", "top_features", "top_contributions"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_a_program_of_rules_alone_has_no_model_file(tmp_path, keys):
    save_program(program(forest=None), None, tmp_path / "rules", keys[0], {})
    assert {path.name for path in (tmp_path / "rules").iterdir()} == set(FILES) - {"model.ubj"}
    assert load_program(tmp_path / "rules", keys[1]).forest is None


def test_the_manifest_tells_what_it_holds(tmp_path, keys):
    digest = save_program(program(), model_ubj(), tmp_path / "v1", keys[0], {"ap": 0.7})
    raw = (tmp_path / "v1" / "manifest.json").read_bytes()
    manifest = json.loads(raw)
    assert (
        manifest["version"] == "v1"
        and manifest["figures"] == {"ap": 0.7}
        and set(manifest["files"]) == {"program.json", "model.ubj", "golden.json", "costs.json"}
    )
    assert digest == __import__("hashlib").sha256(raw).hexdigest()


def test_nothing_is_pickled(saved):
    assert all(not (saved / name).read_bytes().startswith(b"\x80") for name in FILES)
    source = "".join(path.read_text() for path in Path(inference_core.__file__).parent.rglob("*.py"))
    assert not any(word in source for word in ("import pickle", "joblib", "torch.load", "eval(", "exec("))


# --- changes -------------------------------------------------------------------------------------------------------------


@functools.cache
def _original() -> tuple[dict[str, bytes], object]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        key = load_or_create_signing_key(root / "sign.pem", root / "verify.pem")
        save_program(program(), model_ubj(), root / "v1", key, {"ap": 0.7})
        return {name: (root / "v1" / name).read_bytes() for name in FILES}, load_verify_key(root / "verify.pem")


def _load(files: dict[str, bytes]):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return load_program(Path(folder), _original()[1])


@examples(200)
@given(st.sampled_from(FILES), st.integers(0, 10**6), st.integers(1, 255))
def test_any_changed_byte_is_refused_and_its_file_named(name, position, change):
    files = dict(_original()[0])
    raw = bytearray(files[name])
    raw[position % len(raw)] ^= change
    with pytest.raises(ArtifactRefused) as refused:
        _load(files | {name: bytes(raw)})
    named = "manifest.json" if name.startswith("manifest") else name
    assert named in str(refused.value) and "restore the original folder or train again" in str(refused.value)


@examples(60)
@given(st.sampled_from(FILES), st.integers(0, 10**6), st.binary(min_size=1, max_size=3))
def test_a_shorter_or_longer_file_is_refused(name, position, tail):
    files = _original()[0]
    for content in (files[name][: position % len(files[name])], files[name] + tail):
        with pytest.raises(ArtifactRefused):
            _load(files | {name: content})


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_and_named(saved, keys, name):
    (saved / name).unlink()
    with pytest.raises(ArtifactRefused, match=f"v1: {name} cannot be read"):
        load_program(saved, keys[1])


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_place_of_a_file_is_refused(saved, keys, name):
    (saved / name).unlink()
    (saved / name).mkdir()
    with pytest.raises(ArtifactRefused, match=name):
        load_program(saved, keys[1])


def test_a_file_that_nobody_signed_is_refused(saved, keys):
    (saved / "more.json").write_text("{}")
    with pytest.raises(ArtifactRefused, match="more.json"):
        load_program(saved, keys[1])


def test_a_missing_folder_is_refused(tmp_path, keys):
    with pytest.raises(ArtifactRefused, match="nowhere"):
        load_program(tmp_path / "nowhere", keys[1])


def test_a_program_of_another_signer_is_refused(saved, tmp_path):
    load_or_create_signing_key(tmp_path / "other.pem", tmp_path / "other_verify.pem")
    with pytest.raises(ArtifactRefused, match="signature does not match"):
        load_program(saved, load_verify_key(tmp_path / "other_verify.pem"))


def test_files_of_two_signed_programs_do_not_mix(saved, tmp_path, keys):
    save_program(program(version="v2"), model_ubj(), tmp_path / "v2", keys[0], {})
    shutil.copy(tmp_path / "v2" / "program.json", saved / "program.json")
    with pytest.raises(ArtifactRefused, match="program.json was changed"):
        load_program(saved, keys[1])


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ({"format": 3}, "format 3 is not 2"),
        ({"format": 1, "files": {"program.json": "0"}}, "format 1 is not 2; train again"),
        ({"format": 2, "files": dict.fromkeys(["../../etc/passwd", *FILES[2:]], "0")}, "unknown file"),
        ({"format": 2, "files": {"golden.json": "0", "costs.json": "0"}}, "lists no program.json"),
        ({"format": 2, "files": {"program.json": "0", "costs.json": "0"}}, "lists no golden.json"),
        ({"format": 2, "files": {"program.json": "0", "golden.json": "0"}}, "lists no costs.json"),
        ({"format": 2}, "manifest"),
        ({"format": 2, "files": [1]}, "manifest"),
        ([], "manifest"),
    ],
)
def test_a_signed_manifest_that_makes_no_sense_is_refused(saved, keys, manifest, says):
    raw = json.dumps(manifest).encode()
    (saved / "manifest.json").write_bytes(raw)
    (saved / "manifest.sig").write_bytes(keys[0].sign(raw))
    with pytest.raises(ArtifactRefused, match=says):
        load_program(saved, keys[1])


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: p.pop("rules"),
        lambda p: p.update(schema=[]),
        lambda p: p.update(schema=5),
        lambda p: p["calibration"].update(slope=-1),
        lambda p: p["calibration"].update(slope="x"),
        lambda p: p["policy"].update(unknown=1),
        lambda p: p["rules"][0].update(weight=2),
        lambda p: p.update(list_names=None),
        lambda p: p["schema"][0].update(name="other"),
        lambda p: p.update(version=""),
        lambda p: p["rules"].append(None),
        lambda p: p["schema"].append(None),
    ],
)
def test_a_signed_program_that_cannot_run_is_refused(saved, keys, damage):
    document = json.loads((saved / "program.json").read_bytes())
    damage(document)
    _resign(saved, keys[0], json.dumps(document).encode())
    with pytest.raises(ArtifactRefused, match="cannot be run by this version"):
        load_program(saved, keys[1])


def test_a_signed_file_that_is_no_json_is_refused(saved, keys):
    _resign(saved, keys[0], b"[" * 100_000)
    with pytest.raises(ArtifactRefused):
        load_program(saved, keys[1])


def _resign(folder: Path, key, content: bytes) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["program.json"] = __import__("hashlib").sha256(content).hexdigest()
    raw = json.dumps(manifest).encode()
    (folder / "program.json").write_bytes(content)
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sig").write_bytes(key.sign(raw))


# --- saving --------------------------------------------------------------------------------------------------------------


def test_an_artifact_is_never_overwritten(saved, keys):
    before = {name: (saved / name).read_bytes() for name in FILES}
    with pytest.raises(FileExistsError, match="never changed"):
        save_program(program(), model_ubj(), saved, keys[0], {})
    assert {name: (saved / name).read_bytes() for name in FILES} == before


def test_a_save_that_fails_leaves_nothing(tmp_path, keys, monkeypatch):
    monkeypatch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        save_program(program(), model_ubj(), tmp_path / "store" / "v1", keys[0], {})
    assert list((tmp_path / "store").iterdir()) == []


_KILLED = """
import os, sys
from pathlib import Path
from inference_core import load_or_create_signing_key, save_program
from tests.inference_core.programs import model_ubj, program
root, calls = Path(sys.argv[1]), int(sys.argv[2])
key = load_or_create_signing_key(root / "sign.pem", root / "verify.pem")
really, count = os.fsync, 0
def fsync(descriptor):
    global count
    count += 1
    if count > calls:
        os.kill(os.getpid(), 9)
    really(descriptor)
os.fsync = fsync
save_program(program(), model_ubj(), root / "store" / "v1", key, {})
"""


@pytest.mark.parametrize("syncs", [0, 2, 4])
def test_a_save_that_is_killed_leaves_no_artifact_and_the_next_one_works(tmp_path, keys, syncs):
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path), str(syncs)],
        cwd=Path(inference_core.__file__).parents[1],
        capture_output=True,
    )
    assert done.returncode == -9, done.stderr.decode()
    assert not (tmp_path / "store" / "v1").exists()
    save_program(program(), model_ubj(), tmp_path / "store" / "v1", keys[0], {})
    assert load_program(tmp_path / "store" / "v1", keys[1]).version == "v1"
    leftovers = [path.name for path in (tmp_path / "store").iterdir() if path.name != "v1"]
    assert all(name.startswith(".v1.") for name in leftovers), "a prefix by which remove_unreleased() finds and deletes them"


# --- keys ----------------------------------------------------------------------------------------------------------------


def test_keys_are_created_once_and_the_private_one_is_private(tmp_path):
    first = load_or_create_signing_key(tmp_path / "k" / "sign.pem", tmp_path / "k" / "verify.pem")
    again = load_or_create_signing_key(tmp_path / "k" / "sign.pem", tmp_path / "k" / "verify.pem")
    assert first.private_bytes_raw() == again.private_bytes_raw()
    assert stat.S_IMODE((tmp_path / "k" / "sign.pem").stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "k").iterdir()) == ["sign.pem", "verify.pem"]
    assert b"PRIVATE" not in (tmp_path / "k" / "verify.pem").read_bytes()


def test_a_lost_public_half_is_written_again(tmp_path):
    """As after a kill between the two files: signing and verifying must not part for ever."""
    key = load_or_create_signing_key(tmp_path / "sign.pem", tmp_path / "verify.pem")
    (tmp_path / "verify.pem").unlink()
    load_or_create_signing_key(tmp_path / "sign.pem", tmp_path / "verify.pem")
    load_verify_key(tmp_path / "verify.pem").verify(key.sign(b"x"), b"x")


def test_without_a_public_key_the_remedy_is_told(tmp_path):
    with pytest.raises(ArtifactRefused, match="train a first model"):
        load_verify_key(tmp_path / "verify.pem")


@pytest.mark.parametrize("content", [b"", b"not a key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_a_file_that_is_no_key_is_refused(tmp_path, content):
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(ArtifactRefused, match="key.pem"):
        load_verify_key(tmp_path / "key.pem")
    with pytest.raises(ArtifactRefused, match="key.pem"):
        load_or_create_signing_key(tmp_path / "key.pem", tmp_path / "verify.pem")


def test_a_key_of_another_kind_is_refused(tmp_path):
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "sign.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "verify.pem").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ArtifactRefused, match="not an Ed25519 public key"):
        load_verify_key(tmp_path / "verify.pem")
    with pytest.raises(ArtifactRefused, match="not an Ed25519 private key"):
        load_or_create_signing_key(tmp_path / "sign.pem", tmp_path / "verify.pem")
