#!/usr/bin/env bash
# Builds the guest image with which tests show that a guest of another processor boots: a disk from which UEFI
# firmware for 64-bit ARM starts a boot loader, that this release's kernel, and that a program of a few lines. It has
# no system in it, because with every instruction translated a whole one would take minutes to boot. It says
# what it sees on its serial console, and greets like an SSH server.
#
#   images/build-arm64-image.sh OUTPUT.qcow2
#
# Needs sfdisk, mtools, cpio and qemu-img. Uses the machine's own apt configuration; what is installed on the machine,
# and what apt knows of it, stay as they are.
set -euo pipefail

output=$(realpath -m "${1:?usage: images/build-arm64-image.sh OUTPUT.qcow2}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p lists/partial cache/archives/partial root initrd/bin initrd/modules

apt=(-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::lists="$work/lists"
  -o Dir::State::status=/dev/null -o Dir::Cache="$work/cache" -o Acquire::Languages=none
  -o APT::Sandbox::User=root -qq)
meta=linux-image-cloud-arm64
. /etc/os-release
if [ "$ID" = ubuntu ]; then
  meta=linux-image-virtual
  # Ubuntu publishes packages of other processors elsewhere.
  echo "deb http://ports.ubuntu.com/ubuntu-ports $VERSION_CODENAME main universe" > sources.list
  apt+=(-o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null)
fi
apt-get "${apt[@]}" update
kernel=$(apt-cache "${apt[@]}" depends "$meta" | awk '/Depends: linux-image-/ { print $2; exit }')
apt-get "${apt[@]}" download "$kernel" busybox-static systemd-boot-efi
for package in *.deb; do dpkg-deb -x "$package" root; done

cp root/bin/busybox initrd/bin/
modules="failover net_failover virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_net virtio_blk"
for module in $modules; do
  # One that is part of the kernel is no file.
  find root -name "$module.ko" -exec cp {} initrd/modules/ \;
done
cat > initrd/init <<I
#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
for module in $modules; do
  test ! -e /modules/\$module.ko || insmod /modules/\$module.ko
done
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
seed=none
dd if=/dev/vdb bs=512 count=1 2>/dev/null | grep -q CIDATA && seed=cidata
echo "guest: \$(uname -m) cpus=\$(nproc) disk=\$(cat /sys/block/vda/size) seed=\$seed console=\$(cat /sys/class/tty/console/active)"
while :; do echo SSH-2.0-guest | nc -l -p 22; done
I
chmod 755 initrd/init
(cd initrd && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | gzip -1 > ../initrd.img)

start=2048
mib=64
truncate -s $((mib + 2))M disk.raw
sfdisk -q disk.raw <<P
label: gpt
start=$start,size=$((mib * 2048)),type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B,name=esp
P
truncate -s ${mib}M esp
mformat -i esp -F -T $((mib * 2048)) -v ESP ::
mmd -i esp ::/EFI ::/EFI/BOOT ::/loader ::/loader/entries
mcopy -i esp root/usr/lib/systemd/boot/efi/systemd-bootaa64.efi ::/EFI/BOOT/BOOTAA64.EFI
mcopy -i esp root/boot/vmlinuz-* ::/linux
mcopy -i esp initrd.img ::/initrd
printf 'timeout 0\n' | mcopy -i esp - ::/loader/loader.conf
printf 'title guest\nlinux /linux\ninitrd /initrd\noptions console=ttyAMA0 quiet loglevel=3\n' |
  mcopy -i esp - ::/loader/entries/guest.conf
dd if=esp of=disk.raw bs=512 seek=$start conv=notrunc status=none

mkdir -p "$(dirname "$output")"
qemu-img convert -c -O qcow2 disk.raw "$output.new"
mv "$output.new" "$output"
