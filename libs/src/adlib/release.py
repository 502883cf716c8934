"""The number of this release of the whole workspace.

One number for all packages: whether code may run on a database depends on the order of releases, and packages with
versions of their own have none. It is raised by 1 with each release that brings a migration. Each migration says in its
header from which release on code may run once it is applied (`-- runs-with: 1`), see `adlib.db.releases`.
"""

# Releases before 2 had no number and count as 1.
RELEASE = 2
