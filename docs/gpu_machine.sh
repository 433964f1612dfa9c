#!/usr/bin/env bash
# Run the pipeline on a machine that may vanish: a rented GPU, a spot instance, Colab (docs/colab.ipynb).
#
#     bash docs/gpu_machine.sh                                   install, fetch what is known, run the rest, push it
#     bash docs/gpu_machine.sh --remote /content/drive/MyDrive/thaw
#     bash docs/gpu_machine.sh --commit "Freeze block5"          also commit and push dvc.lock and the metrics
#
# After a disconnect run the same command again, here or in a new clone of the same commit. Finished stages and training
# checkpoints are copied to the DVC remote while it runs. Of a training, only the latest minute is computed again; any
# other stage that was interrupted starts over on a new machine.
#
#     --remote FOLDER|URL   DVC remote for this clone only (default, or "": the project's)
#     --commit MESSAGE      commit the results to the current branch, and push the branch
#     --extras LIST         extras to install, such as gpu,s3 (default: gpu where nvidia-smi is found)
#     --no-install          use the current environment instead of .venv
#     --every SECONDS       between two copies to the remote (default: 60)
#     STAGE…                run only these stages and what they need
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

remote="" message="" extras="" install=yes every=60 stages=()
command -v nvidia-smi >/dev/null && extras=gpu
while (($#)); do
    case $1 in
        --no-install) install=no ;;
        --remote | --commit | --extras | --every)
            (($# > 1)) || { echo "gpu_machine.sh: expected a value after $1." >&2; exit 2; }
            case $1 in
                --remote) remote=$2 ;;
                --commit) message=$2 ;;
                --extras) extras=$2 ;;
                --every) every=$2 ;;
            esac
            shift
            ;;
        -*) echo "gpu_machine.sh: unknown option $1; the first lines of this script list the options." >&2; exit 2 ;;
        *) stages+=("$1") ;;
    esac
    shift
done

if [[ $install == yes ]]; then
    # Colab and Debian have Python without ensurepip: virtualenv brings its own pip.
    [[ -x .venv/bin/python ]] || python3 -m venv .venv || {
        python3 -m pip install -q virtualenv
        python3 -m virtualenv -q --clear .venv
    }
    . .venv/bin/activate
    wanted="$extras $(cksum <pyproject.toml)"
    if [[ $wanted != "$(cat .venv/installed 2>/dev/null)" ]]; then
        python -m pip install -q -e ".${extras:+[$extras]}"
        echo "$wanted" >.venv/installed
    fi
fi

[[ -z $remote ]] || dvc remote add -q --local --default --force gpu_machine "$remote"
[[ -n $(dvc config core.remote) ]] || {
    echo "gpu_machine.sh: there is no DVC remote, so results would be lost with the machine. Name one: --remote FOLDER" >&2
    exit 2
}

# What an interrupted run leaves, in one file on the remote: dvc.lock, the metrics and the checkpoints of trainings. Its
# name is that of the experiment: the commit and what was edited since.
work=.dvc/tmp/gpu_machine
kept=$( (git rev-parse HEAD && git diff HEAD -- params.yaml dvc.yaml stages) | sha256sum | cut -c1-16).tar
mkdir -p $work

# on_remote put|get|remove FILE NAME: a file in the folder interrupted/ of the DVC remote, of whatever kind it is.
on_remote() {
    python - "$@" <<'PYTHON'
import sys

from dvc.repo import Repo

action, file, name = sys.argv[1:]
remote = Repo().cloud.get_remote_odb(hash_name="md5-dos2unix")  # its path is the remote's
fs, folder = remote.fs, remote.fs.join(remote.path, "interrupted")
path = fs.join(folder, name)
if action == "put":
    fs.makedirs(folder, exist_ok=True)
    fs.put_file(file, path + ".partial")
    fs.move(path + ".partial", path)
elif fs.exists(path):
    fs.get_file(path, file) if action == "get" else fs.remove(path)
PYTHON
}

# Copy finished stages to the remote, then the dvc.lock that names them, and the checkpoints.
keep() {
    [[ -e dvc.lock ]] || return 0
    if ! cmp -s dvc.lock $work/dvc.lock; then
        cp dvc.lock $work/pushed
        dvc --wait-for-lock push -q && mv $work/pushed $work/dvc.lock || return
    fi
    local files
    files=$(cd data && ls -d .resume-pretrain .resume-finetune 2>/dev/null || true)
    [[ ! -e data/evaluate/metrics.json ]] || files+=" evaluate/metrics.json"
    # A checkpoint may end while tar reads it: then the next copy is the one to keep.
    tar -cf $work/new.tar -C $work dvc.lock -C ../../../data $files 2>/dev/null || return
    if ! cmp -s $work/new.tar $work/kept.tar; then
        on_remote put $work/new.tar "$kept" && mv $work/new.tar $work/kept.tar
    fi
}

# Until standard input ends.
keep_on() {
    local ended=0
    while
        read -r -t "$every" || ended=$?
        ((ended > 128)) # it timed out
    do
        keep || echo "gpu_machine.sh: could not copy to the remote; trying again in $every s" >&2
    done
}

if git diff --quiet HEAD -- dvc.lock data/evaluate/metrics.json && ! compgen -G 'data/.resume-*' >/dev/null; then
    rm -f $work/*
    on_remote get $work/kept.tar "$kept"
    if [[ -e $work/kept.tar ]]; then
        tar -xf $work/kept.tar -C data && mv data/dvc.lock . && cp dvc.lock $work
        echo "gpu_machine.sh: going on where a run of this experiment was interrupted"
    fi
fi

exec 3> >(keep_on)
keeper=$!
dvc --wait-for-lock repro --pull --allow-missing ${stages[@]+"${stages[@]}"} 3>&- || {
    keep
    exit 1
}
exec 3>&-
wait $keeper
dvc --wait-for-lock push --run-cache
on_remote remove $work/kept.tar "$kept"
dvc metrics show

if [[ -n $message ]]; then
    git add dvc.lock
    git diff --quiet HEAD || git commit -q -a -m "$message"
    git push
else
    git status --short
    echo "gpu_machine.sh: the results are on the remote. In your own clone of this commit: dvc repro --pull"
fi
