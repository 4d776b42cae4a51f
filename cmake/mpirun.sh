#!/bin/sh
# mpirun of an installed tree: tells Open MPI where it has been moved to, then starts it.
prefix=$(dirname "$(dirname "$(readlink -f "$0")")")
export OPAL_PREFIX="$prefix" PMIX_PKGLIBDIR="$prefix/lib/pmix"
exec "$prefix/bin/orterun" "$@"
