# The kernel's parameters: an edit here changes the command line, but neither the kernel nor the initrd.
[
  "console=ttyS0"
  "panic=-1"
  "quiet"
  # Under emulation this makes the boot shorter. So would init_on_alloc=0, but QEMU does not see what virtiofsd writes into the guest's memory:
  # from version 8 on it runs what it has translated from a page before, unless the kernel itself clears the page first.
  "cryptomgr.notests"
]
