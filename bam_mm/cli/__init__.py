"""The commands of ``bam-mm``, which ``tools/*.py`` start too: one module for each."""
