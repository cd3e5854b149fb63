# What a newcomer sees first: a GLM at work, then one that learns. Run by `make demo`.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
start=$(date +%s)
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"  # products this small wait for each other on more

heading() { printf '\n\033[1m%s\033[0m\n' "$1"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || heading() { printf '\n%s\n' "$1"; }

heading "1. Corrupt: spans leave the text (Part A) and must be written again (Part B)"
sentence="On Tuesday the market opens at seven, and Anna brings bread from the bakery."
echo "$sentence" | glmctl corrupt --seed 4

heading "2. Infill: the default model writes what belongs into the blanks"
echo "On Tuesday the market opens at [MASK]." | glmctl infill
echo "Tsinghua is [MASK]" | glmctl infill

heading "3. Pretrain: a tiny GLM learns it from the demo text; watch the probe rise"
glmctl pretrain smoke/tiny --run-dir "$folder/tiny"

heading "4. Infill with the model that was just trained"
echo "On Tuesday the market opens at [MASK]." | glmctl infill --model "$folder/tiny"

heading "Done in $(($(date +%s) - start)) seconds. Next: glmctl --help"
