# shellcheck shell=bash
# Sourced by the scripts that install Debian packages.

# Prints what the file $1 lists, one a line, without comments.
listed_packages() { sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$1"; }

# install_packages LOG NAME... installs the Debian packages that are missing. What apt says goes to the file LOG.
install_packages() {
  local log=$1
  shift
  local missing=() name
  for name in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null) == ii* ]] || missing+=("$name")
  done
  ((${#missing[@]})) || return 0
  if ! command -v apt-get >/dev/null; then
    echo "error: this is no Debian (no apt-get); install the equivalents of: ${missing[*]}" >&2
    return 1
  fi
  local as_root=()
  if (($(id -u) != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "error: neither root nor sudo; as root, run: apt-get install ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "Installing from Debian: ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y)
  # The lists may be missing or name versions that are gone: then fetch them and try again.
  "${apt[@]}" install --no-install-recommends "${missing[@]}" >"$log" 2>&1 && return 0
  if "${apt[@]}" update >>"$log" 2>&1 &&
    "${apt[@]}" install --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
    return 0
  fi
  tail -n 5 "$log" >&2
  echo "error: apt-get could not install them; all it said is in $log" >&2
  return 1
}
