"""`lightframe export`: a trained net in one file."""

from pathlib import Path

from rich.console import Console

from lightframe.export import export_weights


def export(checkpoint: Path, output: Path | None = None) -> Path:
    """Write the weights of a checkpoint as safetensors, with all that it takes to predict with them.

    The file holds the weights that are evaluated (with EMA the averaged ones), and with them the net and its arguments,
    the class names, the clip settings and the normalisation: `lightframe predict --ckpt_path model.safetensors
    --data.predict new_videos` needs no other file. Reading it runs no code.

    Args:
        checkpoint: file that a training wrote.
        output: the file to write; by default the checkpoint's name with .safetensors.

    Returns:
        The file.

    Raises:
        UsageError: the checkpoint is damaged or of another framework, or the file cannot be written.
    """
    path = export_weights(checkpoint, output)
    line = f"Weights: {path} ({path.stat().st_size / 1e6:,.1f} MB)"
    Console(soft_wrap=True, highlight=False).print(line, markup=False)
    return path
