"""The release number of the workspace, which decides whether code is compatible with a database.

All packages share it, because package versions have no common order. Every release with a migration raises it by 1.
The header of a migration names the oldest release that can run after it (`-- runs-with: 1`), see `adlib.db.releases`.
"""

# Releases before 2 had no number; they count as 1.
RELEASE = 2
