"""The parts of `lightframe.load_weights`: reading files, bringing names and shapes together, telling what was done."""
