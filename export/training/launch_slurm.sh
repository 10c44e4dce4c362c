#!/bin/bash
# Trains on several machines through SLURM, one task for each GPU. The arguments are those of `keras-det train`; the
# folder of --out must be on a file system that all machines see. A job that was stopped and queued again goes on.
#
#   sbatch --nodes=2 export/training/launch_slurm.sh --recipe ssd300-voc0712 --batch-size 64 --out /shared/runs/voc
#
#SBATCH --job-name=keras-det
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --requeue
set -euo pipefail

out=runs/train
arguments=("$@")
for ((i = 0; i < ${#arguments[@]}; i++)); do
    case "${arguments[i]}" in
    --out) out=${arguments[i + 1]} ;;
    --out=*) out=${arguments[i]#--out=} ;;
    esac
done
if [[ -e $out/last.weights.h5 ]]; then
    arguments+=(--resume)
fi
# One task that fails ends the others, which would wait for it.
exec srun --kill-on-bad-exit=1 keras-det train --strategy multiworker "${arguments[@]}"
