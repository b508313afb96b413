#!/usr/bin/env bash
# One launcher on each node. Shortly before the time limit the run saves a checkpoint and the job queues itself again.
#   sbatch --nodes 2 --gpus-per-node 8 --time 8:00:00 launch/slurm.sh PRESET --run-dir /shared/runs/NAME [flags]
# Submit it at the root of the clone, where `accelerate` is on the PATH; clone, Python and run directory are on disks
# that all nodes see. One process per GPU, or one per node that uses all its cores; the same number on all nodes.
#SBATCH --job-name=charrnn
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
set -u

if [[ " $* " != *" --run-dir"[\ =]* ]]; then
    echo "slurm.sh: error: name --run-dir: the job that is queued again must find its run" >&2
    exit 2
fi
MAIN_NODE=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MAIN_NODE
export PORT=$((20000 + SLURM_JOB_ID % 10000)) # two jobs may share a node
export PROCESSES=$((SLURM_NNODES * ${SLURM_GPUS_ON_NODE:-1}))
# What the launcher hands on to its processes: srun hands USR1 on to the launchers, but makes a KILL of a TERM.
export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1
# srun does not inherit this one.
if [[ -n ${SLURM_CPUS_PER_TASK:-} ]]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi
# Where a node takes its own name for 127.0.x.y, tell gloo and NCCL the interface to use:
# export GLOO_SOCKET_IFNAME=eth0 NCCL_SOCKET_IFNAME=eth0

# A launcher that has ended must not end the one that still writes the checkpoint, hence --kill-on-bad-exit=0.
# shellcheck disable=SC2016 # each node expands it for itself
srun --kill-on-bad-exit=0 bash -c 'exec accelerate launch --config_file launch/several_machines.yaml \
    --num_machines "$SLURM_NNODES" --num_processes "$PROCESSES" --machine_rank "$SLURM_NODEID" \
    --main_process_ip "$MAIN_NODE" --main_process_port "$PORT" train.py "$@"' launch "$@" &
step=$!
warned=
trap 'warned=yes; kill -USR1 "$step"' USR1
while wait "$step"; status=$?; kill -0 "$step" 2>/dev/null; do
    : # the trap has interrupted `wait`
done
if [[ -n $warned && $status != 0 ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
