# What would break a guest that runs from the host's store: assertions and warnings of guest-virtiofs.nix.
{
  cfg,
  config,
  has,
  lib,
  options,
  thisFile,
}:
let
  inherit (builtins)
    any
    attrNames
    elem
    filter
    isAttrs
    stringLength
    ;
  inherit (lib)
    concatMapStringsSep
    hasPrefix
    optional
    optionals
    removePrefix
    ;

  setting = path: lib.attrByPath path null config;

  # The first stage sees the root at /sysroot and adds that to each path itself.
  initrdPrefix = "/sysroot";
  prefixed = hasPrefix "${initrdPrefix}/";
  withoutPrefix = path: if prefixed path then removePrefix initrdPrefix path else path;
  roStore = withoutPrefix cfg.roStoreMount;
  rwStore = withoutPrefix cfg.rwStoreMount;

  within = path: parent: path == parent || hasPrefix "${parent}/" path;

  # Who else says what is mounted there. It is read from the definitions, because the value would need this answer.
  contents =
    value:
    map (part: if part._type or null == "override" then part.content else part) (lib.modules.dischargeProperties value);
  mounts = part: isAttrs part && (part ? device || part ? fsType || part ? label || part ? overlay);
  definesMount =
    path: definition:
    toString definition.file != toString thisFile
    && isAttrs definition.value
    && definition.value ? ${path}
    && any mounts (contents definition.value.${path});
  othersMount =
    path:
    map (definition: toString definition.file) (
      filter (definesMount path) (options.fileSystems.definitionsWithLocations or [ ])
    );
  otherRoots = othersMount "/";
  otherMounts = othersMount cfg.mountPoint;
  otherLayers = othersMount rwStore;

  # The same place under another name, which NixOS would mount as well.
  aliases =
    path:
    map (name: "fileSystems.${builtins.toJSON name}") (
      filter (name: name != path && config.fileSystems.${name}.mountPoint == path) (attrNames config.fileSystems)
    )
    ++ optional (any (mount: mount.where == path) (config.systemd.mounts or [ ])) "systemd.mounts";
  mountedTwice = filter (path: aliases path != [ ]) [
    "/"
    roStore
    rwStore
    cfg.mountPoint
  ];

  # An upper layer needs extended attributes, and device nodes or whiteouts of its own.
  noUpperLayer = [
    "9p"
    "exfat"
    "nfs"
    "nfs4"
    "overlay"
    "vfat"
    "virtiofs"
  ];
  layers = filter (fileSystem: fileSystem.mountPoint == rwStore) (lib.attrValues config.fileSystems);
  unfit = map (layer: layer.fsType) (filter (layer: elem layer.fsType noUpperLayer) layers);

  fileSystemPaths = map (fileSystem: fileSystem.mountPoint) (lib.attrValues config.fileSystems);
  strays = filter prefixed fileSystemPaths;

  # Whether the first stage will have a module: listed, or built into a kernel that says so.
  isBuiltIn =
    if
      has [
        "boot"
        "kernelPackages"
      ]
    then
      config.boot.kernelPackages.kernel.config.isYes or (_: false)
    else
      _: false;
  blacklisted = setting [
    "boot"
    "blacklistedKernelModules"
  ];
  hasModule =
    name: configName:
    (
      elem name (config.boot.initrd.availableKernelModules ++ config.boot.initrd.kernelModules)
      && !(elem name (if blacklisted == null then [ ] else blacklisted))
    )
    || isBuiltIn configName;

  # The store's database in the guest knows what nixvm-loop told it, or nothing at all.
  nixSetting =
    name:
    setting [
      "nix"
      "settings"
      name
    ];
  collectsGarbage =
    setting [
      "nix"
      "gc"
      "automatic"
    ] == true
    ||
      setting [
        "programs"
        "nh"
        "clean"
        "enable"
      ] == true
    || !(elem (nixSetting "min-free") [
      null
      0
      "0"
    ]);
  optimises =
    nixSetting "auto-optimise-store" == true
    ||
      setting [
        "nix"
        "optimise"
        "automatic"
      ] == true;

  sound =
    assertion: message: {
      inherit assertion;
      message = "keystone.virtualization.guest.virtiofs: ${message}";
    };
in
{
  inherit
    otherLayers
    otherMounts
    otherRoots
    roStore
    rwStore
    ;

  warnings =
    let
      about =
        name: path:
        optional (prefixed path) ''
          keystone.virtualization.guest.virtiofs.${name} begins with ${initrdPrefix}, where the initrd has the guest's root: it is taken as ${withoutPrefix path}. Kept as it is, the systemd initrd would mount it below ${initrdPrefix}${initrdPrefix}. Write ${withoutPrefix path}.'';
      server =
        name:
        setting [
          "services"
          "openssh"
          "settings"
          name
        ];
      rootLogin = server "PermitRootLogin";
      # USER or USER@HOST. A pattern may well mean root; only what certainly shuts it out is worth a warning.
      user = pattern: lib.head (lib.splitString "@" pattern);
      users =
        name:
        let
          found = server name;
        in
        if isAttrs found || found == null then [ ] else lib.toList found;
      mayBeRoot = pattern: user pattern == "root" || builtins.match ".*[*?].*" (user pattern) != null;
      allowed = users "AllowUsers";
      shutsOut = [
        {
          when =
            setting [
              "services"
              "openssh"
              "enable"
            ] == false;
          because = "services.openssh.enable is off";
          remedy = "Switch it on, or ssh.enable off where another server lets root in";
        }
        {
          when = elem rootLogin [
            "no"
            "forced-commands-only"
          ];
          because = ''services.openssh.settings.PermitRootLogin is "${toString rootLogin}"'';
          remedy = ''Set it to "prohibit-password"'';
        }
        {
          when = allowed != [ ] && !(any mayBeRoot allowed);
          because = "services.openssh.settings.AllowUsers does not name root";
          remedy = "Add it";
        }
        {
          when = any (pattern: elem pattern [
            "root"
            "*"
          ]) (users "DenyUsers");
          because = "services.openssh.settings.DenyUsers names root";
          remedy = "Remove it";
        }
      ];
    in
    about "roStoreMount" cfg.roStoreMount
    ++ about "rwStoreMount" cfg.rwStoreMount
    ++ map (reason: ''
      keystone.virtualization.guest.virtiofs.ssh: ${reason.because}, and nixvm-loop's checks need root. ${reason.remedy}.'') (
      filter (reason: cfg.ssh.enable && reason.when) shutsOut
    );

  assertions = [
    (sound (stringLength cfg.shareName <= 36 && builtins.match "[^[:space:],]+" cfg.shareName != null) ''
      shareName is "${cfg.shareName}"; a virtiofs tag has 1 to 36 bytes and neither spaces nor commas.'')

    (sound (otherMounts == [ ]) ''
      ${cfg.mountPoint} is mounted by another module as well: ${concatMapStringsSep ", " toString otherMounts}. Remove that definition, or this module's `enable`.'')

    (sound (mountedTwice == [ ]) ''
      ${concatMapStringsSep ", " (path: "${path} is mounted by ${lib.concatStringsSep " and " (aliases path)} as well") mountedTwice}. Remove that definition, or this module's `enable`.'')

    (sound (cfg.persistentRwStore || otherMounts != [ ] || otherLayers == [ ]) ''
      ${rwStore} is declared in ${lib.concatStringsSep ", " otherLayers}, and persistentRwStore is off, with which it is this module's tmpfs. Turn persistentRwStore on, or remove that definition.'')

    (sound (otherMounts != [ ] || elem cfg.mountPoint fileSystemPaths) ''
      ${cfg.mountPoint} is not among the guest's file systems: a definition of `fileSystems` with a higher priority (mkForce, mkVMOverride) replaced this module's. Remove it, or this module's `enable`.'')

    (sound (strays == [ ]) ''
      the file system ${concatMapStringsSep ", " toString strays} is declared below ${initrdPrefix}, where only the initrd has the guest's root; it would come to lie below ${initrdPrefix}${initrdPrefix}. Declare it as ${concatMapStringsSep ", " withoutPrefix strays}.'')

    (sound (!(within roStore rwStore || within rwStore roStore)) ''
      roStoreMount (${roStore}) and rwStoreMount (${rwStore}) must not lie one within the other: an overlay needs layers of their own.'')

    (sound (!(within roStore cfg.mountPoint || within rwStore cfg.mountPoint)) ''
      roStoreMount (${roStore}) and rwStoreMount (${rwStore}) must not lie below mountPoint (${cfg.mountPoint}): the overlay would hide its own layers.'')

    (sound (config.boot.initrd.enable or true) ''
      boot.initrd.enable is false, and the initrd is what mounts the store.'')

    (sound (hasModule "overlay" "OVERLAY_FS") ''
      the initrd has no kernel module `overlay`, so the store cannot be mounted. Put it into boot.initrd.kernelModules and take it off boot.blacklistedKernelModules.'')

    (sound (hasModule "virtiofs" "VIRTIO_FS") ''
      the initrd has no kernel module `virtiofs`, so the share cannot be mounted. Put it into boot.initrd.kernelModules and take it off boot.blacklistedKernelModules.'')

    (sound (!optimises) ''
      nix.settings.auto-optimise-store and nix.optimise.automatic must be off: they make hard links across the overlay's layers, which copies the host's store into the guest.'')

    (sound (!collectsGarbage) ''
      nix.gc.automatic, programs.nh.clean.enable and nix.settings.min-free must be off: the guest's collector would take what is the host's for garbage and hide it behind whiteouts.'')

    (sound
      (
        cfg.mountPoint == "/nix/store"
        || any (path: elem path fileSystemPaths) [
          "/nix"
          "/nix/store"
        ]
      )
      ''
        mountPoint is ${cfg.mountPoint}, but `init=` names a path below /nix/store, which no file system of the guest holds. Set mountPoint to /nix/store, or declare a file system for it.''
    )

    (sound (!(any (hasPrefix "init=") config.boot.kernelParams)) ''
      boot.kernelParams has an `init=` of its own; there must be exactly one, and nixvm-loop sets it.'')
  ]
  ++ optionals cfg.persistentRwStore [
    (sound (elem rwStore fileSystemPaths) ''
      persistentRwStore is on, but no file system is declared for ${rwStore}. Declare fileSystems."${rwStore}" with neededForBoot = true, or turn persistentRwStore off.'')

    (sound (!(elem rwStore fileSystemPaths) || any (layer: layer.neededForBoot) layers) ''
      fileSystems."${rwStore}" needs neededForBoot = true: the initrd mounts the overlay over it.'')

    (sound (unfit == [ ]) ''
      fileSystems."${rwStore}" is ${concatMapStringsSep ", " toString unfit}, which cannot be an overlay's upper layer. Use one that can, such as ext4 or xfs.'')

    (sound (cfg.rwStoreSize == null) ''
      rwStoreSize is for a tmpfs; with persistentRwStore the size is that of fileSystems."${rwStore}".'')
  ];
}
