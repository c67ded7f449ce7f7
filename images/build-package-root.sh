#!/usr/bin/env bash
# Builds the root of a machine on which the package is installed in tests: the smallest of this machine's own release that
# boots under systemd, with what the package depends on.
#
#   images/build-package-root.sh OUTPUT.root
#
# Needs root and mmdebstrap. Uses the machine's own apt configuration, and neither loop devices nor mounts of its own.
set -euo pipefail

output=$(realpath -m "${1:?usage: images/build-package-root.sh OUTPUT.root}")
. /etc/os-release
suite=${VERSION_CODENAME:?}
mirror=$(apt-get indextargets --format '$(REPO_URI)' | head -n1)
case $ID in
  ubuntu) components=main,universe ;;
  *) components=main ;;
esac
# As the package's own Depends.
packages=systemd-sysv,apt,ca-certificates,iproute2,nftables,passwd,qemu-system-x86,qemu-utils,slirp4netns,util-linux

rm -rf "$output.new"
mkdir -p "$(dirname "$output")"
mmdebstrap --quiet --mode=root --components="$components" --format=directory --variant=minbase \
  --skip=check/empty,cleanup/apt/lists \
  --aptopt='Acquire::Languages "none"' --aptopt='Apt::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --include="$packages" "$suite" "$output.new" "$mirror"
# Nothing is fetched in tests, and nothing that comes by itself changes the machine meanwhile.
chroot "$output.new" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
  fstrim.timer systemd-tmpfiles-clean.timer systemd-resolved.service getty@tty1.service console-getty.service 2> /dev/null || true
rm -rf "$output.new"/var/lib/apt/lists/* "$output.new"/var/cache/apt/*.bin "$output.new"/var/cache/apt/archives/*.deb
: > "$output.new/etc/machine-id"
echo packaged > "$output.new/etc/hostname"
mv "$output.new" "$output"
