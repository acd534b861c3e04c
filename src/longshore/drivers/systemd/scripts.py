"""What is done to the files of units on a host: POSIX shell, with coreutils, diffutils, grep and flock.

Each may be run again after it was cut short at any point. They exclude each other by a lock on the host, since the
template of a service goes with its last instance and comes with its first.

Exit status: 0 done · 3 refused, stderr says why, for people · others: it went wrong.
"""

from __future__ import annotations

REFUSED = 3

_LOCKED = r"""
set -eu
refuse() { printf '%s\n' "$*" >&2; exit 3; }
exec 9>> "$state/units.lock"
flock -w 20 9 || refuse "$state/units.lock is held for longer than 20 s"
"""

#: state units name service header mark directory program user target control, and the texts of template, drop-in and
#: environment. Its programs are few: on a small machine they are most of what starting an instance costs.
INSTALL = (
    r"""
state=$1 units=$2 name=$3 service=$4 header=$5 mark=$6 directory=$7 program=$8 user=$9
shift 9
target=$1 control=$2 template_text=$3 drop_in_text=$4 environment_text=$5
"""
    + _LOCKED
    + r"""
template=$units/$service@.service drop_ins=$units/$name.d
drop_in=$drop_ins/longshore.conf environment=$state/environment/$name
# put FILE TEXT MASK: replaced as a whole, unless it has that text already
put() {
  if [ -e "$1" ] && printf '%s' "$2" | cmp -s - "$1"; then return; fi
  umask "$3"
  new=${1%/*}/.longshore.new
  # The shell itself says "I/O error" for a disk that is full.
  printf '%s' "$2" 2> /dev/null > "$new" || printf '%s' "$2" | tee "$new" > /dev/null
  mv -f "$new" "$1"
  umask 022
}
for file in "$template" "$drop_in"; do
  [ -e "$file" ] || [ -L "$file" ] || continue
  first=''
  IFS= read -r first < "$file" || :
  [ "$first" != "$header" ] || continue
  case $first in
    '# Longshore: '*) whose="belongs to another deployment or manager (${first#\# Longshore: })" mine='' ;;
    *) whose="is not Longshore's" mine=', or systemd.unit = "existing" to run a unit of your own' ;;
  esac
  refuse "$file is there and $whose: choose another service_name$mine"
done
[ -d "$directory" ] || refuse "the directory $directory to run in does not exist"
if [ -n "$program" ]; then
  [ -e "$program" ] || refuse "no such program: $program"
  [ -f "$program" ] && [ -x "$program" ] || refuse "$program is not executable: give it the executable bit (chmod +x)"
fi
[ -z "$user" ] || id "$user" > /dev/null 2>&1 || refuse "there is no user '$user': create it, or name another user"

if [ -e "$drop_in" ] && ! grep -qxF "Environment=LONGSHORE_LAUNCH=$mark" "$drop_in"; then
  # What an earlier launch has left: nothing that runs, or that is about to, may be taken for this one.
  $control stop "$name" 9>&-
fi
[ -d "$drop_ins" ] && [ -d "$units/$target.wants" ] && [ -d "$state/environment" ] ||
  mkdir -p "$drop_ins" "$units/$target.wants" "$state/environment"
put "$template" "$template_text" 022
put "$environment" "$environment_text" 077
put "$drop_in" "$drop_in_text" 022
# What `systemctl enable` does.
ln -sfn "$template" "$units/$target.wants/$name"
sync "$template" "$drop_in" "$environment" "$drop_ins" "$units/$target.wants" "$units"
"""
)

#: state units name service header mark target: takes away what INSTALL has made, if it still is that of this launch.
#: Says `last` where no other instance of the service is there.
REMOVE = (
    "state=$1 units=$2 name=$3 service=$4 header=$5 mark=$6 target=$7"
    + _LOCKED
    + r"""
drop_ins=$units/$name.d template=$units/$service@.service
if [ -e "$drop_ins/longshore.conf" ]; then
  grep -qxF "Environment=LONGSHORE_LAUNCH=$mark" "$drop_ins/longshore.conf" || exit 0
fi
rm -f "$units/$target.wants/$name" "$state/environment/$name" "$drop_ins/longshore.conf" "$drop_ins/.longshore.new" \
  "$state/environment/.longshore.new" "$units/.longshore.new"
# A drop-in of somebody else's stays.
rmdir "$drop_ins" 2> /dev/null || :
for other in "$units/$service@"*.service.d/longshore.conf; do
  [ ! -e "$other" ] || exit 0
done
if [ -e "$template" ] && IFS= read -r first < "$template" && [ "$first" = "$header" ]; then
  rm -f "$template"
fi
rmdir "$units/$target.wants" "$state/environment" 2> /dev/null || :
echo last
"""
)

#: units name seconds: how long an instance is left between SIGTERM and SIGKILL from now on
LEAVE_TIME = r"""
set -eu
file=$1/$2.d/longshore.conf
sed "s/^TimeoutStopSec=.*/TimeoutStopSec=$3/" "$file" > "$file.new"
mv -f "$file.new" "$file"
"""

#: state units manager: "managed LAUNCH UNIT DEPLOYMENT" and "existing …" of each that is this manager's
SURVEY = r"""
for file in "$2"/*@*.service.d/longshore.conf; do
  [ -e "$file" ] || continue
  launch=$(sed -n "s|^Environment=LONGSHORE_LAUNCH=$3/||p" "$file")
  IFS= read -r header < "$file" || :
  unit=${file%.d/longshore.conf}
  [ -z "$launch" ] || echo "managed $launch ${unit##*/} ${header##* }"
done
for file in "$1"/existing/*.service; do
  [ -e "$file" ] || continue
  { IFS= read -r launch; IFS= read -r deployment; } < "$file" || continue
  case $launch in "$3/"*) echo "existing ${launch#"$3/"} ${file##*/} $deployment" ;; esac
done
"""

#: state unit mark deployment systemctl directory working-directory: links `current`, writes down that this launch has
#: the unit, and says which run there was before it was started. The record: mark, deployment, run.
CLAIM = (
    "state=$1 unit=$2 mark=$3 deployment=$4 systemctl=$5 directory=$6 work=$7"
    + _LOCKED
    + r"""
record=$state/existing/$unit
of='' whose=''
if [ -e "$record" ]; then
  { IFS= read -r of; IFS= read -r whose; IFS= read -r run; } < "$record" || refuse "$record is damaged: remove it"
  if [ "${of%%/*}" != "${mark%%/*}" ] || [ "$whose" != "$deployment" ]; then
    refuse "$unit is run by deployment $whose of the manager ${of%%/*}: a unit has one (is that gone? remove $record)"
  fi
fi
[ -d "$directory" ] || refuse "the directory $directory to run in does not exist"
if [ -n "$work" ]; then
  if [ -e "$work/current" ] && [ ! -L "$work/current" ]; then
    refuse "$work/current is there and is no link: move it away, the unit is to run from there"
  fi
  case $directory in "$work"/*) link=${directory#"$work"/} ;; *) link=$directory ;; esac
  if [ "$(readlink "$work/current" 2> /dev/null)" != "$link" ]; then
    rm -f "$work/.current.new"
    ln -s "$link" "$work/.current.new"
    mv -fT "$work/.current.new" "$work/current"
    sync "$work"
  fi
fi
if [ "$of" = "$mark" ]; then
  echo "$run"
  exit
fi
# Only now: a socket may have started it from what was linked until then.
before=$($systemctl show --property=InvocationID --value "$unit")
before=${before:--}
mkdir -p "$state/existing"
printf '%s\n%s\n%s\n' "$mark" "$deployment" "$before" > "$record.new"
sync "$record.new"
mv -f "$record.new" "$record"
sync "$state/existing"
echo "$before"
"""
)

#: state unit: the first line of the record, if there is one
WHOSE = '[ ! -e "$1/existing/$2" ] || head -n 1 "$1/existing/$2"'

#: state unit mark: takes the record away, if it still is that of this launch
DISCLAIM = (
    "state=$1 unit=$2 mark=$3"
    + _LOCKED
    + r"""
record=$state/existing/$unit
[ -e "$record" ] || exit 0
{ IFS= read -r of; } < "$record" || :
[ "$of" != "$mark" ] || rm -f "$record"
rmdir "$state/existing" 2> /dev/null || :
"""
)

#: pid: waits until a program was executed in it (until then systemd's own child shows its name in parentheses)
EXECUTED = r"""
tries=0
while { IFS= read -r name < "/proc/$1/comm"; } 2> /dev/null && [ "$tries" -lt 250 ]; do
  case $name in '('*) tries=$((tries + 1)); sleep 0.02 ;; *) exit ;; esac
done
"""

#: controllers in force: of the machine (system), or of this user's own systemd (user)
CONTROLLERS = r"""
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  echo 2
  if [ "$1" = user ]; then
    cat "/sys/fs/cgroup/user.slice/user-$(id -u).slice/user@$(id -u).service/cgroup.controllers" 2> /dev/null || :
  else
    cat /sys/fs/cgroup/cgroup.controllers
  fi
else
  echo 1
  [ "$1" = user ] || for controller in cpu memory pids; do
    [ ! -d "/sys/fs/cgroup/$controller" ] || echo "$controller"
  done
fi
"""
