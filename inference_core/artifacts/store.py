"""Saving and loading a program; nothing is parsed before its signature and digest are verified."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from inference_core.calibration import Calibration
from inference_core.errors import ArtifactRefused, InferenceError
from inference_core.forest import Forest
from inference_core.golden import GoldenRows, check_golden, golden_rows
from inference_core.net import Blend
from inference_core.net.storage import net_from_bytes, net_to_bytes
from inference_core.policy import CostPolicy
from inference_core.program import DEFAULT_TOP, RiskProgram
from inference_core.rules import rule_from_json, rule_to_json
from inference_core.runtime import CostTable, Ladder, Serving, make_ready, measure_costs
from inference_core.schema import FeatureSchema
from kernels.score_rows import ScoreTables

FORMAT = 2
MANIFEST, SIGNATURE, PROGRAM, MODEL = "manifest.json", "manifest.sig", "program.json", "model.ubj"
NET, GOLDEN, COSTS = "net.safetensors", "golden.json", "costs.json"
WHOLE, REDUCED = "whole", "reduced"
_MAX_MANIFEST_BYTES = 1 << 20


def save_program(
    program: RiskProgram, model_ubj: bytes | None, directory: Path, signing_key: Ed25519PrivateKey, figures: dict[str, Any]
) -> str:
    """Write `program` into the new folder `directory`, all or nothing, and return the manifest's SHA-256 in hex.

    Args:
        model_ubj: XGBoost's own serialisation of the forest, None for a program without one.
        figures: what was measured; stored in the manifest, not interpreted.

    The golden rows and what each variant costs on this hardware are made here and stored along.

    Raises:
        FileExistsError: the folder is there already; artifacts are never changed.
        ArtifactRefused: this build's kernels disagree with the reference on the golden rows.
    """
    golden = {name: golden_rows(tables, min(DEFAULT_TOP, program.schema.width)) for name, _, tables in _variants(program)}
    for name, executor, _ in _variants(program):
        check_golden(golden[name], executor)
    whole = golden[WHOLE]
    costs = measure_costs(program.executor, whole.x, whole.memberships, whole.top)
    files = {
        PROGRAM: json.dumps(_program_to_json(program), indent=1).encode(),
        GOLDEN: json.dumps(_golden_to_json(golden)).encode(),
        COSTS: json.dumps([table.to_json() for table in costs], indent=1).encode(),
    }
    if model_ubj is not None:
        files[MODEL] = model_ubj
    if program.net is not None:
        files[NET] = net_to_bytes(program.net)
    manifest = json.dumps(
        {
            "format": FORMAT,
            "version": program.version,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "feature_schema": program.schema.version,
            "figures": figures,
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        },
        indent=1,
    ).encode()
    files |= {MANIFEST: manifest, SIGNATURE: signing_key.sign(manifest)}
    _write_folder(directory, files)
    return hashlib.sha256(manifest).hexdigest()


def load_program(directory: Path, verify_key: Ed25519PublicKey, serving: Serving | None = None) -> RiskProgram:
    """Return the program in `directory`, having verified every byte of it and run its golden rows.

    Args:
        serving: what the program is going to serve on. Its static programs are made before the golden rows are run on
            them. None for a program that is only looked at or scores now and then: the CPU, nothing made ready.

    Raises:
        ArtifactRefused: a file is missing, changed, unsigned or of another format, or an answer to a golden row differs;
            the message names it.
    """
    files = _verified_manifest(directory, verify_key)
    if missing := sorted({PROGRAM, GOLDEN, COSTS} - files.keys()):
        raise ArtifactRefused(f"{directory.name}: the manifest lists no {missing[0]}")
    contents = {name: _verified_file(directory, name, digest) for name, digest in files.items()}
    if unsigned := sorted({path.name for path in directory.iterdir()} - {MANIFEST, SIGNATURE, *files}):
        raise ArtifactRefused(f"{directory.name}: nobody signed {', '.join(unsigned)[:200]}; remove it")
    try:
        program = _program_from_json(json.loads(contents[PROGRAM]), contents.get(MODEL), contents.get(NET), serving)
        golden = _golden_from_json(json.loads(contents[GOLDEN]), program)
        costs = [CostTable.from_json(table) for table in json.loads(contents[COSTS])]
        if serving is not None:
            _make_ready(program, costs, golden[WHOLE], serving)
    except (InferenceError, AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ArtifactRefused(f"{directory.name}: signed, but it cannot be run by this version: {error}") from error
    try:
        for name, executor, _ in _variants(program):
            check_golden(golden[name], executor)
    except ArtifactRefused as error:
        raise ArtifactRefused(f"{directory.name}: {error}") from None
    return program


def _variants(program: RiskProgram) -> list[tuple[str, Ladder, ScoreTables]]:
    """Return (name, executor, tables) of the program, and of the one without its net."""
    found = [(WHOLE, program.executor, program.plan.tables)]
    if program.reduced_executor is not None and program.plan.reduced is not None:
        found.append((REDUCED, program.reduced_executor, program.plan.reduced.tables))
    return found


def _golden_to_json(golden: dict[str, GoldenRows]) -> dict[str, Any]:
    """Return the whole program's rows, and beside their fields those of the reduced one."""
    return golden[WHOLE].to_json() | {name: rows.to_json() for name, rows in golden.items() if name != WHOLE}


def _golden_from_json(of: dict[str, Any], program: RiskProgram) -> dict[str, GoldenRows]:
    return {name: GoldenRows.from_json(of if name == WHOLE else of[name], tables) for name, _, tables in _variants(program)}


def _make_ready(program: RiskProgram, costs: list[CostTable], golden: GoldenRows, serving: Serving) -> None:
    make_ready(program.executor, costs, golden.x, golden.memberships, golden.top, serving.largest_batch)
    if program.reduced_executor is not None:
        # the same kernels with less to do: the whole program's lines rank them alike
        program.reduced_executor.use_costs(program.executor.costs)
        program.reduced_executor.warm(serving.largest_batch, tops=(golden.top,), lists=(True,))


def _verified_manifest(directory: Path, verify_key: Ed25519PublicKey) -> dict[str, str]:
    """Return the digest of each file."""
    raw = _read(directory, MANIFEST, _MAX_MANIFEST_BYTES)
    try:
        verify_key.verify(_read(directory, SIGNATURE, 64), raw)
    except InvalidSignature:
        raise ArtifactRefused(
            f"{directory.name}: the signature does not match {MANIFEST}; restore the original folder or train again"
        ) from None
    try:
        manifest = json.loads(raw)
        if manifest.get("format") != FORMAT:
            raise ArtifactRefused(
                f"{directory.name}: format {manifest.get('format')} is not {FORMAT}; train again with this version"
            )
        return {name: str(digest) for name, digest in manifest["files"].items()}
    except (AttributeError, KeyError, ValueError, RecursionError):
        raise ArtifactRefused(
            f"{directory.name}: {MANIFEST} is signed, but not a manifest; train again with this version"
        ) from None


def _verified_file(directory: Path, name: str, digest: str) -> bytes:
    if name not in (PROGRAM, MODEL, NET, GOLDEN, COSTS):
        raise ArtifactRefused(f"{directory.name}: the manifest lists the unknown file {name[:40]!r}")
    content = _read(directory, name, 1 << 30)
    if hashlib.sha256(content).hexdigest() != digest:
        raise ArtifactRefused(
            f"{directory.name}: {name} was changed after it was signed; restore the original folder or train again"
        )
    return content


def _read(directory: Path, name: str, limit: int) -> bytes:
    path = directory / name
    try:
        if path.stat().st_size > limit:
            raise ArtifactRefused(f"{directory.name}: {name} is larger than {limit} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactRefused(f"{directory.name}: {name} cannot be read ({error.strerror})") from None


def _write_folder(directory: Path, files: dict[str, bytes]) -> None:
    if directory.exists():
        raise FileExistsError(f"{directory} exists; artifacts are never changed")
    staged = directory.with_name(f".{directory.name}.{os.getpid()}")
    shutil.rmtree(staged, ignore_errors=True)  # left by an earlier process that was killed
    staged.mkdir(parents=True)
    try:
        for name, content in files.items():
            with open(staged / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _sync_folder(staged)
        os.rename(staged, directory)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    _sync_folder(directory.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _program_to_json(program: RiskProgram) -> dict[str, Any]:
    return {
        "version": program.version,
        "schema": program.schema.to_json(),
        "rules": [rule_to_json(rule) for rule in program.rules],
        "list_names": list(program.list_names),
        "calibration": {"slope": program.calibration.slope, "intercept": program.calibration.intercept},
        "policy": program.policy.to_json(),
        **({} if program.blend is None else {"blend": asdict(program.blend)}),
    }


def _program_from_json(of: dict[str, Any], model: bytes | None, net: bytes | None, serving: Serving | None) -> RiskProgram:
    schema = FeatureSchema.from_json(of["schema"])
    return RiskProgram(
        schema=schema,
        rules=tuple(rule_from_json(rule) for rule in of["rules"]),
        list_names=tuple(of["list_names"]),
        forest=Forest.from_xgboost(model, schema.names) if model is not None else None,
        calibration=Calibration(**of["calibration"]),
        policy=CostPolicy(**of["policy"]),
        version=of["version"],
        net=None if net is None else net_from_bytes(net),
        blend=Blend(**of["blend"]) if "blend" in of else None,
        devices=() if serving is None else serving.devices,
    )
