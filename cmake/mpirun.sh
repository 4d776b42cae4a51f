#!/bin/sh
# mpirun of an installed tree: tells Open MPI where it has been moved to, then starts it.
prefix=$(dirname "$(dirname "$(readlink -f "$0")")")
export OPAL_PREFIX="$prefix" PMIX_PREFIX="$prefix"
exec "$prefix/bin/orterun" "$@"
