# shellcheck shell=bash
# Sourced by the scripts that call mpirun: what Open MPI must be told to start on one machine, whoever runs it and
# wherever: as root in a container, and with more ranks than cores. What the user has set stays.
if (($(id -u) == 0)); then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# --oversubscribe, and waiting ranks that give their core to the others.
export OMPI_MCA_rmaps_base_oversubscribe=${OMPI_MCA_rmaps_base_oversubscribe:-1}
export OMPI_MCA_mpi_yield_when_idle=${OMPI_MCA_mpi_yield_when_idle:-1}
# --bind-to none: each rank has threads of its own, which would otherwise share one core.
export OMPI_MCA_hwloc_base_binding_policy=${OMPI_MCA_hwloc_base_binding_policy:-none}
