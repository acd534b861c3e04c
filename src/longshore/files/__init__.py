"""The files of deployments: working directories, what is in them, and whose they are."""

from longshore.disk import FilesError
from longshore.files.shared import shared_path_problems
from longshore.files.working_directory import PRE_LONGSHORE, Unpacked, WorkingDirectory

__all__ = ["PRE_LONGSHORE", "FilesError", "Unpacked", "WorkingDirectory", "shared_path_problems"]
