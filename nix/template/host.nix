# The host: libvirtd with virtiofsd, and nixvm-loop.
{
  keystone.virtualization.host.virtiofs = {
    enable = true;

    # Who may use libvirt's system daemon, which is as good as being root.
    users = [ ];

    # With this, `nixvm-loop watch` runs from login to logout.
    # watch.projects.demo = {
    #   config = "/home/ann/demo/nixvm-loop.toml";
    #   user = "ann";
    # };
  };
}
