"""Write a released program as an ONNX model, for scoring where there is no service of ours."""

from __future__ import annotations

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser

from scoring.decisions.released_programs import load_release
from scoring.engine import ArtifactRefused, ProgramError, program_to_onnx
from scoring.models import ProgramRelease


class Command(BaseCommand):
    help = "Write the champion, or the release that is named, as an ONNX model: rules, forest and net in one graph."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("out", type=Path, help="the file to write; it must not be there yet")
        parser.add_argument("--release", help="version of the release; the champion where none is named")
        parser.add_argument("--reduced", action="store_true", help="without the net")

    def handle(self, *, out: Path, release: str | None, reduced: bool, **_: object) -> None:
        found = ProgramRelease.objects.filter(**({"version": release} if release else {"state": "champion"})).first()
        if found is None:
            raise CommandError(f"there is no release {release}" if release else "there is no champion yet: train a model first")
        try:
            program = load_release(found)
            model = program_to_onnx(program, reduced=reduced)
            with out.open("xb") as file:
                file.write(model)
        except (ArtifactRefused, ProgramError, OSError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{program.version} was written to {out}, {len(model):,} bytes")
