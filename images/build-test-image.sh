#!/usr/bin/env bash
# Builds the guest image of tests and of the demo from the packages of this machine's own release: a bootable disk with
# cloud-init, an SSH server and QEMU's guest agent, like a cloud image, but smaller and with less
# to start, because without hardware virtualisation every started program costs a second.
#
#   images/build-test-image.sh OUTPUT.qcow2
#
# Needs root, mmdebstrap, sfdisk, mke2fs, grub-mkimage and qemu-img. Uses the machine's own apt
# configuration, and neither loop devices nor mounts.
set -euo pipefail

output=$(realpath -m "${1:?usage: images/build-test-image.sh OUTPUT.qcow2}")
. /etc/os-release
suite=${VERSION_CODENAME:?}
disk_mib=1536
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mirror=$(apt-get indextargets --format '$(REPO_URI)' | head -n1)
case $ID in
  ubuntu) kernel=linux-image-virtual components=main,universe ;;
  *) kernel=linux-image-cloud-amd64 components=main ;;
esac
packages=$kernel,initramfs-tools,systemd-sysv,systemd-resolved,udev,dbus,kmod,zstd
packages+=,cloud-init,cloud-guest-utils,fdisk,e2fsprogs,openssh-server,qemu-guest-agent,iproute2,sudo,ca-certificates

cat > "$work/initramfs.sh" <<'H'
set -e
mkdir -p "$1/etc/initramfs-tools/conf.d"
# Only what finds an ext4 root on a virtio disk.
printf 'MODULES=list\nCOMPRESS=zstd\n' > "$1/etc/initramfs-tools/conf.d/small.conf"
H

cat > "$work/customize.sh" <<'H'
set -e
root=$1
printf '%s\n' virtio_pci virtio_blk virtio_scsi virtio_rng ext4 >> "$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u -k all > /dev/null
echo 'LABEL=cloudimg-rootfs / ext4 rw,discard,errors=remount-ro 0 1' > "$root/etc/fstab"
# The modules that the provider's seed uses, and no others.
cat > "$root/etc/cloud/cloud.cfg.d/90_small.cfg" <<'C'
datasource_list: [ NoCloud, None ]
datasource: { NoCloud: { fs_label: cidata } }
system_info: { network: { renderers: [ networkd ] } }
cloud_init_modules: [ write_files, growpart, resizefs, set_hostname, users_groups, ssh ]
cloud_config_modules: [ runcmd ]
cloud_final_modules: [ scripts_user ]
C
# The data source is known; probing for it would take seconds.
echo 'datasource: NoCloud' > "$root/etc/cloud/ds-identify.cfg"
chroot "$root" systemctl -q enable systemd-networkd systemd-resolved ssh serial-getty@ttyS0 2> /dev/null
chroot "$root" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service \
  fstrim.timer dpkg-db-backup.timer systemd-timesyncd.service systemd-pstore.service keyboard-setup.service \
  console-setup.service systemd-networkd-wait-online.service getty@tty1.service 2> /dev/null || true
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id"
: > "$root/etc/machine-id"
echo localhost > "$root/etc/hostname"
chroot "$root" passwd -q -l root
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/log/*.log
H

mmdebstrap --quiet --mode=root --components="$components" --format=directory --variant=minbase --skip=check/empty,cleanup/apt/lists \
  --aptopt='Acquire::Languages "none"' --aptopt='Apt::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --essential-hook="sh $work/initramfs.sh \"\$1\"" --include="$packages" \
  --customize-hook="sh $work/customize.sh \"\$1\"" "$suite" "$root" "$mirror"

# A GPT disk: the boot loader's own partition, then the root file system, written where it belongs.
boot_sector=2048
root_sector=4096
root_mib=$((disk_mib - root_sector / 2048 - 1))
disk=$work/disk.raw
truncate -s "${disk_mib}M" "$disk"
sfdisk -q "$disk" <<P
label: gpt
start=$boot_sector,size=2048,type=21686148-6449-6E6F-744E-656564454649,name=bios
start=$root_sector,size=$((root_mib * 2048)),type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709,name=root
P
kernel=$(basename "$root"/boot/vmlinuz-* | sed s/vmlinuz-//)
mkdir -p "$root/boot/grub"
cat > "$root/boot/grub/grub.cfg" <<G
set timeout=0
linux /boot/vmlinuz-$kernel root=LABEL=cloudimg-rootfs ro console=ttyS0 quiet loglevel=3 mitigations=off
initrd /boot/initrd.img-$kernel
boot
G
mke2fs -q -t ext4 -L cloudimg-rootfs -m 1 -O ^metadata_csum_seed \
  -E offset=$((root_sector * 512)),lazy_itable_init=1,lazy_journal_init=1,no_copy_xattrs \
  -d "$root" "$disk" $((root_mib * 1024))

# GRUB without grub-install, which needs a mounted disk: boot.img into the first sector, core.img
# into its partition, and the two places in them that say where the next part is.
grub=/usr/lib/grub/i386-pc
core=$work/core.img
grub-mkimage -O i386-pc -o "$core" -p "(hd0,gpt2)/boot/grub" biosdisk part_gpt ext2 normal linux minicmd
le() { # little-endian bytes of number $1, $2 of them
  local number=$1 count=$2
  while [ "$count" -gt 0 ]; do
    printf "\\x$(printf %02x $((number & 255)))"
    number=$((number >> 8)) count=$((count - 1))
  done
}
put() { dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
cp "$grub/boot.img" "$work/boot.img"
le $boot_sector 8 | put "$work/boot.img" $((0x5c))
printf '\xff' | put "$work/boot.img" $((0x64))     # the drive that the firmware booted from
printf '\x90\x90' | put "$work/boot.img" $((0x66)) # no jump around that
sectors=$((($(stat -c %s "$core") + 511) / 512 - 1))
le $((boot_sector + 1)) 8 | put "$core" $((0x1f4))
le $sectors 2 | put "$core" $((0x1fc))
dd if="$work/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
dd if="$core" of="$disk" bs=512 seek=$boot_sector conv=notrunc status=none

mkdir -p "$(dirname "$output")"
qemu-img convert -c -m 2 -W -O qcow2 -o compression_type=zstd "$disk" "$output.new"
mv "$output.new" "$output"
