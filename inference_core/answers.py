"""The JSON answers of the framework; the contract is that of `kernels.render_answers`."""

from kernels.render_answers import AnswerColumns, AnswerForm, Rendered, render_answers

__all__ = ["AnswerColumns", "AnswerForm", "Rendered", "render_answers"]
