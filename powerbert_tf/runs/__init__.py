"""A run: its settings, its folder, the plan of its stages, and the pipeline that runs them.

May import every room but `beam` and `server`. A new flag goes to the settings of the room that needs it; a new stage is
a file in `runs/stages`.
"""
