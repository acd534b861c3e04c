"""What runs on a host: POSIX sh, coreutils, find, sed, tar and flock. Nothing of it stays there.

Each takes the working directory as $1, and answers with pairs of words that end with NUL. What is wrong with the
directory is said by `die`, as one sentence that names the path and the remedy. Names come as arguments, or NUL ended in
files, never in the text of a script.
"""

from __future__ import annotations

#: exit status of `die`
REFUSED = 65

_COMMON = rf"""
set -eu
LC_ALL=C
export LC_ALL
wd=$1
die() {{ printf '%s\n' "$*" >&2; exit {REFUSED}; }}
say() {{ printf '%s\0' "$@"; }}
enter() {{
  cd -- "$wd" 2>/dev/null || die "'$wd' cannot be entered: somebody has removed it, or taken its permissions away"
}}
# put FILE TEXT: replaced atomically and durably
put() {{ printf '%s\n' "$2" > "$1.new" && sync -- "$1.new" && mv -f -- "$1.new" "$1" && sync -- "${{1%/*}}"; }}
# away PATH: removed whole, also where directories are not ours to write in
away() {{ rm -rf -- "$1" 2>/dev/null || {{ chmod -R u+rwX -- "$1" && rm -rf -- "$1"; }}; }}
# leave VERSION: a release goes, renamed first, so that what has its name is always complete
leave() {{
  rm -f -- ".longshore/releases/$1.json" ".longshore/releases/$1.listing"
  if [ -e "releases/$1" ] || [ -L "releases/$1" ]; then
    leaving=releases/.$1.removing-$$
    mv -T -- "releases/$1" "$leaving"
    sync -- releases
    away "$leaving"
  fi
}}
# open_staging VERSION ID: an empty directory in $top that is held, and removed when this ends
open_staging() {{
  top=releases/.$1.staging-$2
  mkdir -m 700 -- "$top"
  exec 9< "$top"
  flock -n 9
  trap 'cd -- "$wd" && away "$top"' EXIT
  trap 'exit 143' HUP INT PIPE TERM
}}
# list: the listing of the current directory (see manifest.py)
list() {{
  find . -mindepth 1 \( -type f -printf 'f %m %s %P\0' -o -type d -printf 'd %m %P\0' \
    -o -type l -printf 'l %P//%l\0' -o -printf '? %P\0' \) | sort -z
  find . -type f -print0 | sort -z | xargs -0 -r sha256sum --zero --
}}
# publish VERSION RECORD LISTING: what is in $top/tree becomes a release
publish() {{
  mkdir -p .longshore/releases
  mv -f -- "$3" ".longshore/releases/$1.listing"
  sync -f -- "$top"
  sync -- ".longshore/releases/$1.listing"
  put ".longshore/releases/$1.json" "$2"
  chmod 755 "$top/tree"
  mv -T -- "$top/tree" "releases/$1"
  sync -- releases
}}
"""

#: $2 …: shared paths to look for. Changes nothing.
LOOK = (
    _COMMON
    + r"""
# line FILE: what we have written into one is a line. Read by the shell itself: a program each would be most of this.
line() { line=''; IFS= read -r line < "$1" || :; }
shift
place=$wd
while [ ! -e "$place" ] && [ ! -L "$place" ]; do place=${place%/*} place=${place:-/}; done
say place "$place" free "$(stat -f -c '%a %S' -- "$place")"
[ ! -d "$place" ] || say directory yes
{ [ ! -w "$place" ] || [ ! -x "$place" ]; } || say writable yes
[ -d "$wd" ] || exit 0
enter
if [ -L current ]; then say current "$(readlink -- current)"; elif [ -e current ]; then say current_taken yes; fi
[ ! -f .longshore.lock ] || { line .longshore.lock && say holder "$line"; }
if [ -f .longshore/first.json ]; then
  line .longshore/first.json
  say first "$line"
else
  find . -mindepth 1 -maxdepth 1 -printf 'name\0%P\0'
  if [ -L releases ] || { [ -e releases ] && [ ! -d releases ]; }; then say releases_taken yes; fi
  if [ -e shared ] && [ ! -d shared ]; then say shared_taken yes; fi
fi
for release in releases/* releases/.[!.]* releases/..?*; do
  { [ ! -e "$release" ] && [ ! -L "$release" ]; } || say released "${release#releases/}"
done
for record in .longshore/releases/*.json; do
  [ -f "$record" ] || continue
  version=${record##*/} version=${version%.json}
  line "$record"
  say record "$version $line"
  [ ! -f "${record%.json}.listing" ] || say listed "$version"
done
for path do
  { [ ! -e "shared/$path" ] && [ ! -L "shared/$path" ]; } || say shared "$path"
done
"""
)

#: $2: first.json, "" where it stands; $3: owner, "" for none. Makes the layout.
PREPARE = (
    _COMMON
    + r"""
umask 022
mkdir -p -- "$wd"
enter
mkdir -p .longshore/releases releases
[ -f .longshore/first.json ] || put .longshore/first.json "$2"
sync -f .
[ -n "$3" ] || exit 0
[ ! -L .longshore.lock ] || die "'$wd/.longshore.lock' is a link: remove it"
exec 9>> .longshore.lock
flock -w 5 9 || die "'$wd/.longshore.lock' stayed locked by another process for 5 s: fuser finds it"
holder=$(cat .longshore.lock)
if [ -z "$holder" ]; then
  printf '%s\n' "$3" >&9
  sync -- .longshore.lock
  sync -- .
elif [ "$holder" != "$3" ]; then
  die "'$wd' belongs to $holder: give this deployment a working_directory of its own, or, if that one is gone for" \
    "good, remove '$wd/.longshore.lock' there and try again"
fi
"""
)

#: $2: owner
DISCLAIM = (
    _COMMON
    + r"""
[ -f "$wd/.longshore.lock" ] || exit 0
enter
exec 9< .longshore.lock
flock -w 5 9 || die "'$wd/.longshore.lock' stayed locked by another process for 5 s: fuser finds it"
[ "$(cat .longshore.lock)" = "$2" ] || exit 0
rm -f .longshore.lock && sync -- .
# What holds nothing any more was made for us.
cd / && rmdir "$wd" 2> /dev/null || true
"""
)

#: $2: version, "" to remove the link, if it is to a release. Says `switched` where it was not so already.
SET_CURRENT = (
    _COMMON
    + r"""
if [ -z "$2" ] && [ ! -d "$wd" ]; then exit 0; fi
enter
target=$(readlink -- current || :)
if [ -z "$2" ]; then
  case $target in releases/*) rm -f current && say switched yes ;; esac
else
  if [ -e current ] && [ ! -L current ]; then die "'$wd/current' is not a link of Longshore's: move it away"; fi
  [ -d "releases/$2" ] || die "there is no release $2 in '$wd/releases' to make the current one"
  if [ "$target" != "releases/$2" ]; then
    rm -f .longshore/current
    ln -s -- "releases/$2" .longshore/current
    mv -fT .longshore/current current
    say switched yes
  fi
fi
sync -- .
"""
)

#: $2: version
REMOVE = (
    _COMMON
    + r"""
[ -d "$wd" ] || exit 0
enter
[ "$(readlink -- current || :)" != "releases/$2" ] ||
  die "'$wd/releases/$2' is what current leads to: switch current to another release first"
leave "$2"
"""
)

#: Everything of ours but the claim; `shared` stays while it holds anything.
REMOVE_ALL = (
    _COMMON
    + r"""
[ -d "$wd" ] || exit 0
enter
[ ! -L current ] || rm -f current
for place in releases .longshore; do
  [ ! -e "$place" ] || away "$place"
done
rmdir shared 2>/dev/null || :
sync -- .
"""
)

#: Says `swept` for what a crash has left, and `busy` for what somebody is at work on.
SWEEP = (
    _COMMON
    + r"""
[ -d "$wd/releases" ] || exit 0
enter
for place in releases/.*.staging-* releases/.*.removing-*; do
  [ -d "$place" ] || continue
  if ( flock -n 9 ) 9< "$place"; then
    away "$place"
    say swept "${place#releases/}"
  else
    say busy "${place#releases/}"
  fi
done
for record in .longshore/releases/*.json .longshore/releases/*.listing; do
  [ -f "$record" ] || continue
  version=${record##*/} version=${version%.json} version=${version%.listing}
  [ -e "releases/$version" ] || [ -n "$(find releases -maxdepth 1 -name ".$version.staging-*")" ] || rm -f -- "$record"
done
"""
)

#: $2: version, $3: mark, $4: version of the base or "", $5: user or "", $6: record, $7: digest, $8: digest of the new
#: shared paths, $9: time of all files in seconds; a parcel on standard input. Says `done`, or `differs` and a listing.
RECEIVE = (
    _COMMON
    + r"""
version=$2 user=$5 record=$6 digest=$7 shared_digest=$8 time=$9
enter
mkdir -p .longshore/releases releases
open_staging "$version" "$3"
tar -xpf - --no-same-owner -C "$top"
base=$wd/releases/$4 listing=.longshore/releases/$4.listing tree=$wd/$top/tree plan=$wd/$top/plan
[ -n "$4" ] && [ -f "$listing" ] || listing=/dev/null
# kept SED: those names in the listing of the base that are not dropped
kept() { sed -z -n "$1" "$listing" | sort -z | comm -z -23 - "$plan/drop"; }
copy() { xargs -0 -r cp -R -P --parents --reflink=auto -t "$1" --; }
move() {
  mkdir -p -- "$tree/$3"
  ( umask 000; cd -- "$base/$2" && copy "$tree/$3" < "$plan/moves/$1" )
}
build() {
  path=$1 mode=$2
  shift 2
  while read -r which start size; do
    if [ "$which" = 0 ]; then from=$wd/$top/literals; else eval "from=\$base/\${$which}"; fi
    dd if="$from" iflag=skip_bytes,count_bytes,nofollow bs=1M skip="$start" count="$size" status=none
  done > "$tree/$path"
  chmod "$mode" -- "$tree/$path"
}
{
  kept 's/^d [0-7]* //p'
  cat "$plan/directories"
} | ( cd "$tree"; xargs -0 -r mkdir -p -- )
# What was changed or removed in the base is told by what comes out of it, and by nothing else.
{
  kept 's/^f [0-7]* [0-9]* //p' | ( umask 000; cd -- "$base" && copy "$tree" ) || :
  kept 's,^l \([^/]*\(/[^/][^/]*\)*\)//.*,\1,p' |
    tar -c -C "$base" --no-recursion --null --verbatim-files-from -T - -f - | tar -xpf - -C "$tree" || :
  ( . "$plan/program" ) || :
} 2> "$top/errors"
if grep -q -e 'No space left' -e 'quota exceeded' -e 'Read-only file' -e 'Input/output error' "$top/errors"; then
  cat "$top/errors" >&2
  exit 1
fi
if [ -n "$user" ]; then chown -R -h -- "$user:" "$tree" "$top/shared"; fi
for mode in $(ls "$plan/modes"); do
  ( cd "$tree"; xargs -0 -r chmod "$mode" -- < "$plan/modes/$mode" ) || :
done
find "$tree" -exec touch -h -d "@$time" -- {} +
( cd "$tree" && list ) > "$top/listing"
( cd "$top/shared" && list ) > "$top/shared.listing"
sum_of() { sum=$(sha256sum < "$1"); sum=${sum%% *}; }
sum_of "$top/shared.listing"
[ "$sum" = "$shared_digest" ] || { say differs shared; exit 0; }
sum_of "$top/listing"
[ "$sum" = "$digest" ] || { say differs release; cat "$top/listing"; exit 0; }
# seed PATH …: a shared path and those above it, outermost first; what is there is not touched
seed() {
  for place do
    { [ ! -e "shared/$place" ] && [ ! -L "shared/$place" ]; } || continue
    mv -T -- "$top/shared/$place" "shared/$place"
    return
  done
}
[ ! -s "$plan/seeds" ] || mkdir -p shared
. "$plan/seeds"
if [ -e "releases/$version" ] || [ -L "releases/$version" ]; then
  [ "$(readlink -- current || :)" != "releases/$version" ] ||
    die "'$wd/releases/$version' has other content, and is what current leads to: deploy under a new version"
  leave "$version"
fi
publish "$version" "$record" "$top/listing"
say done yes
"""
)
