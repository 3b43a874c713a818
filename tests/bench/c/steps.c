/*
 * steps STEP ROOTFS PROGRAM MEMORY CPU PIDS [LOWER...]
 *
 * The system calls of a step (1 to 6) and nothing else: what a straight C
 * program takes for the same container. Only what is the Rust program's own is
 * left out: its command line, its allocator, its signal stack.
 *
 * MEMORY, CPU and PIDS are the cgroups in which ours are made. If they are all
 * the same, that is cgroup v2; if they are empty, there is none. The step finds
 * them itself; here the files that it reads are read, and not parsed.
 */
#include "calls.h"

#include <dirent.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <grp.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/vfs.h>

static int step;
/* A plain user, who becomes root only in a user namespace. */
static int plain_user;
static const char *root, *program;
/* The gate: the parent's end and the child's. */
static int gate[2];
/* All signals that the parent and the init wait for. */
static sigset_t signals;

/* ---- the parent: what it prepares -------------------------------------- */

static void read_file(const char *path)
{
	char text[8192];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd == -1)
		return; /* as there need not be an /etc/subuid */
	while (read(fd, text, sizeof text) > 0)
		;
	close(fd);
}

static void check_directory(const char *path)
{
	int fd;

	TRY(fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	close(fd);
}

/* Step 3: opens the image past links, and asks for its real path. */
static void find_root(void)
{
	struct { uint64_t flags, mode, resolve; } how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = 4 /* RESOLVE_NO_SYMLINKS */
	};
	char link[64], path[4096];
	int fd;

	TRY(fd = (int)syscall(SYS_openat2, AT_FDCWD, root, &how, sizeof how));
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	TRY(readlink(link, path, sizeof path));
	close(fd);
}

/* Gives away a part of a limit. */
static void lower_limit(int which, uint64_t soft, uint64_t hard)
{
	struct rlimit limit;

	TRY(getrlimit(which, &limit));
	if (limit.rlim_cur > soft)
		limit.rlim_cur = soft;
	if (limit.rlim_max > hard)
		limit.rlim_max = hard;
	TRY(setrlimit(which, &limit));
}

/* Step 4 looks for cgroups of runs that were killed. */
static void sweep(const char *parent)
{
	DIR *directory = opendir(parent);

	while (directory && readdir(directory))
		;
	if (directory)
		closedir(directory);
}

/* Whether this kernel counts it. */
static int has(const struct cgroup *cgroup, const char *name)
{
	char path[4200];
	struct stat status;

	snprintf(path, sizeof path, "%s/%s", cgroup->path, name);
	return stat(path, &status) == 0;
}

/* Step 4: makes the cgroups and returns how many there are. */
static int make_cgroups(struct cgroup cgroups[3], char **parents)
{
	int v2 = !strcmp(parents[0], parents[1]);
	struct stat status;

	read_file("/proc/self/cgroup");
	read_file("/proc/self/mountinfo");
	stat("/proc/self/ns/pid", &status);
	read_file("/proc/self/stat");
	if (parents[0][0] == '\0')
		return 0;
	for (int i = 0; i < (v2 ? 1 : 3); i++) {
		make_cgroup(&cgroups[i], parents[i], v2);
		sweep(parents[i]);
	}
	if (v2) {
		write_limit(&cgroups[0], "memory.max", "67108864");
		write_limit(&cgroups[0], "memory.swap.max", "0");
		write_limit(&cgroups[0], "cpu.max", "50000 100000");
		write_limit(&cgroups[0], "pids.max", "64");
		return 1;
	}
	write_limit(&cgroups[0], "memory.limit_in_bytes", "67108864");
	if (has(&cgroups[0], "memory.kmem.tcp.limit_in_bytes"))
		write_limit(&cgroups[0], "memory.kmem.tcp.limit_in_bytes",
			    "67108864");
	if (has(&cgroups[0], "memory.memsw.limit_in_bytes"))
		write_limit(&cgroups[0], "memory.memsw.limit_in_bytes",
			    "67108864");
	write_limit(&cgroups[1], "cpu.cfs_quota_us", "50000");
	write_limit(&cgroups[2], "pids.max", "64");
	return 3;
}

/* Step 6: which ids a process gets. Only root can give it a range. */
static void map_ids(pid_t pid)
{
	char path[64], map[64];
	unsigned uid = geteuid(), gid = getegid();

	if (uid != 0) {
		snprintf(path, sizeof path, "/proc/%d/setgroups", pid);
		write_file(path, "deny");
	}
	snprintf(path, sizeof path, "/proc/%d/uid_map", pid);
	snprintf(map, sizeof map, "0 %u 1", uid);
	write_file(path, uid ? map : "0 100000 65536");
	snprintf(path, sizeof path, "/proc/%d/gid_map", pid);
	snprintf(map, sizeof map, "0 %u 1", gid);
	write_file(path, uid ? map : "0 100000 65536");
}

/* Step 6, as root: copies of the mounts at `root` and at the layers. */
static void copy_mounts(char **lower, int *mounts)
{
	struct mount_attr private = { .propagation = MS_PRIVATE };
	const char *path = root;

	do {
		TRY(*mounts = (int)syscall(SYS_open_tree, AT_FDCWD, path,
					   OPEN_TREE_CLONE |
						   OPEN_TREE_CLOEXEC));
		TRY(syscall(SYS_mount_setattr, *mounts, "",
			    AT_EMPTY_PATH | AT_RECURSIVE, &private,
			    sizeof private));
		mounts++;
	} while ((path = *lower++));
}

/* Step 6, as root: has the copies show their files with the container's ids. */
static void map_files(pid_t child, const int *mounts)
{
	struct mount_attr mapped = { .attr_set = MOUNT_ATTR_IDMAP };
	struct statfs status;
	char path[64];
	int user;

	snprintf(path, sizeof path, "/proc/%d/ns/user", child);
	TRY(user = open(path, O_RDONLY | O_CLOEXEC));
	mapped.userns_fd = (uint64_t)user;
	for (; *mounts; mounts++)
		TRY(syscall(SYS_mount_setattr, *mounts, "",
			    AT_EMPTY_PATH | AT_RECURSIVE, &mapped,
			    sizeof mapped));
	/* Pipes would be given to the container's root. */
	for (int fd = 0; fd < 3; fd++)
		TRY(fstatfs(fd, &status));
	close(user);
}

static void reset_oom_score(pid_t child)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/oom_score_adj", child);
	write_file(path, "0");
}

/* ---- the child: its file system ---------------------------------------- */

static char *below_root(const char *name)
{
	static char path[2][4096];
	static int turn;

	turn = !turn;
	snprintf(path[turn], sizeof path[turn], "%s/%s", root, name);
	return path[turn];
}

static void bind_mount(const char *source, const char *target, unsigned long flags)
{
	TRY(mount(source, target, NULL, MS_BIND | flags, NULL));
}

/* Step 5. The layers are named by the numbers of their descriptors. */
static void mount_overlay(char **lower)
{
	char options[4096] = "lowerdir=";
	int length = (int)strlen(options), fd, upper, work, here;
	struct stat status;
	struct statfs merged;
	int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;

	for (; *lower; lower++) {
		TRY(fd = open(*lower, flags));
		length += sprintf(options + length, "%d:", fd);
	}
	TRY(fd = open(root, flags));
	TRY(stat(root, &status));
	TRY(mount("tmpfs", root, "tmpfs", 0, "mode=0755"));
	TRY(mkdir(below_root("upper"), status.st_mode & 07777));
	TRY(chmod(below_root("upper"), status.st_mode & 07777));
	TRY(mkdir(below_root("work"), 0700));
	TRY(chmod(below_root("work"), 0700));
	TRY(upper = open(below_root("upper"), flags));
	TRY(work = open(below_root("work"), flags));
	TRY(stat("/proc/self/ns/user", &status));
	snprintf(options + length, sizeof options - (size_t)length,
		 "%d,upperdir=%d,workdir=%d,index=off,%s", fd, upper, work,
		 step == 6 || plain_user ? "userxattr" : "redirect_dir=off");
	TRY(here = open(".", flags));
	TRY(chdir("/proc/self/fd"));
	TRY(mount("overlay", root, "overlay", 0, options));
	TRY(fchdir(here));
	TRY(statfs(root, &merged));
}

static const unsigned long RESTRICTED = MS_NOSUID | MS_NODEV | MS_NOEXEC;

static void set_attributes(const char *path, unsigned flags, uint64_t attributes)
{
	struct mount_attr attr = { .attr_set = attributes };

	TRY(syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &attr,
		    sizeof attr));
}

/* A path that this kernel does not have is skipped. */
static int bind_if_there(const char *source, const char *target)
{
	return mount(source, target, NULL, MS_BIND, NULL) == 0;
}

/* Step 6. */
static void mount_sys(void)
{
	mkdir(below_root("sys"), 0755);
	check_directory(below_root("sys"));
	TRY(mount("sysfs", below_root("sys"), "sysfs", RESTRICTED | MS_RDONLY,
		  NULL));
}

/* Step 6: a /dev of its own. */
static void mount_dev(void)
{
	static const char *devices[] = { "null", "zero", "full",
					 "random", "urandom", "tty" };
	static const char *links[][2] = {
		{ "/proc/self/fd", "dev/fd" },
		{ "/proc/self/fd/0", "dev/stdin" },
		{ "/proc/self/fd/1", "dev/stdout" },
		{ "/proc/self/fd/2", "dev/stderr" },
		{ "pts/ptmx", "dev/ptmx" },
	};
	char host[64], name[32];

	mkdir(below_root("dev"), 0755);
	check_directory(below_root("dev"));
	TRY(mount("tmpfs", below_root("dev"), "tmpfs", MS_NOSUID | MS_NOEXEC,
		  "mode=755,size=64k,nr_inodes=64"));
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		snprintf(name, sizeof name, "dev/%s", devices[i]);
		snprintf(host, sizeof host, "/%s", name);
		TRY(mknod(below_root(name), S_IFREG | 0666, 0));
		bind_mount(host, below_root(name), 0);
		set_attributes(below_root(name), 0, MOUNT_ATTR_RDONLY);
	}
	TRY(mkdir(below_root("dev/pts"), 0755));
	int tty = chown(below_root("dev/pts"), (uid_t)-1, 5) == 0;
	TRY(mount("devpts", below_root("dev/pts"), "devpts",
		  MS_NOSUID | MS_NOEXEC,
		  tty ? "newinstance,ptmxmode=0666,mode=0620,gid=5" :
			"newinstance,ptmxmode=0666,mode=0620"));
	TRY(mkdir(below_root("dev/shm"), 0755));
	TRY(mount("tmpfs", below_root("dev/shm"), "tmpfs", RESTRICTED,
		  "mode=1777,size=64m"));
	TRY(mkdir(below_root("dev/mqueue"), 0755));
	TRY(mount("mqueue", below_root("dev/mqueue"), "mqueue", RESTRICTED,
		  ""));
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		TRY(symlink(links[i][0], below_root(links[i][1])));
}

/* Step 6: masked and read-only paths. */
static void protect_kernel_files(void)
{
	static const char *files[] = { "proc/config.gz", "proc/interrupts",
		"proc/iomem", "proc/ioports", "proc/kcore", "proc/key-users",
		"proc/keys", "proc/latency_stats", "proc/sched_debug",
		"proc/timer_list", "proc/timer_stats" };
	static const char *directories[] = { "proc/acpi", "proc/asound",
		"proc/scsi", "sys/devices/virtual/powercap", "sys/firmware" };
	static const char *read_only[] = { "proc/bus", "proc/fs", "proc/irq",
		"proc/sys", "proc/sysrq-trigger" };
	static const char *ours[] = { "proc", "sys", "dev", "sys/fs/cgroup" };
	struct stat status;
	struct statfs file_system;

	TRY(chdir(root));
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		TRY(statfs(ours[i], &file_system));
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		bind_if_there("dev/null", files[i]);
	for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
		bind_if_there("sys/fs/cgroup", directories[i]);
	stat("sys/devices/system/cpu/cpu0/thermal_throttle", &status);
	for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++)
		if (bind_if_there(read_only[i], read_only[i]))
			TRY(mount(NULL, read_only[i], NULL,
				  MS_REMOUNT | MS_BIND | MS_RDONLY | RESTRICTED,
				  NULL));
}

/* Step 6: /sys/fs/cgroup, in the root. Version 1 has a directory for each tree,
 * and for Java a file in the place of two that we have nothing in. */
static void show_cgroups(const struct cgroup *cgroups, int count)
{
	static const char *trees[] = { "memory", "cpu", "pids" };
	static const char *hints[] = { "cpuset", "cpuacct" };
	char host[4200], file[64];

	if (count == 0)
		return;
	if (count == 1) {
		bind_mount(cgroups[0].path, "sys/fs/cgroup", 0);
		TRY(chdir("sys/fs/cgroup"));
	} else {
		TRY(mount("tmpfs", "sys/fs/cgroup", "tmpfs", 0, "mode=755"));
		TRY(chdir("sys/fs/cgroup"));
		for (int i = 0; i < count; i++) {
			TRY(mkdir(trees[i], 0755));
			bind_mount(cgroups[i].path, trees[i], 0);
		}
		for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
			snprintf(host, sizeof host,
				 "/sys/fs/cgroup/%s/cgroup.clone_children",
				 hints[i]);
			snprintf(file, sizeof file, "%s/cgroup.clone_children",
				 hints[i]);
			TRY(mkdir(hints[i], 0755));
			TRY(mknod(file, S_IFREG | 0444, 0));
			bind_if_there(host, file);
		}
	}
	set_attributes(".", AT_RECURSIVE,
		       MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
			       MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	TRY(chdir(root));
}

static int open_below(int directory, const char *path)
{
	struct { uint64_t flags, mode, resolve; } how = {
		.flags = O_PATH | O_CLOEXEC,
		/* RESOLVE_IN_ROOT, _NO_MAGICLINKS, _NO_XDEV */
		.resolve = 0x10 | 2 | 1
	};

	return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}

/* Step 6: a file of /etc that tells the container its name, in the root. */
static void tell_name(int root_fd, const char *name, const char *text)
{
	struct mount_attr private = { .propagation = MS_PRIVATE };
	char path[64], file[64];
	struct stat status;
	int target, mount, etc, fd;

	snprintf(path, sizeof path, "etc/%s", name);
	snprintf(file, sizeof file, "dev/%s", name);
	if ((target = open_below(root_fd, path)) == -1) {
		TRY(etc = open_below(root_fd, "etc"));
		TRY(mknodat(etc, name, S_IFREG | 0644, 0));
		close(etc);
		TRY(target = open_below(root_fd, path));
	}
	TRY(fstat(target, &status));
	TRY(fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
	TRY(write(fd, text, strlen(text)));
	close(fd);
	TRY(mount = (int)syscall(SYS_open_tree, AT_FDCWD, file,
				 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
	TRY(syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | AT_RECURSIVE,
		    &private, sizeof private));
	TRY(syscall(SYS_move_mount, mount, "", target, "",
		    MOVE_MOUNT_F_EMPTY_PATH | 0x40 /* T_EMPTY_PATH */));
	close(target);
	close(mount);
	TRY(unlink(file));
}

static void tell_names(void)
{
	int fd;

	TRY(fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
	tell_name(fd, "hostname", "box\n");
	tell_name(fd, "hosts",
		  "127.0.0.1\tlocalhost\n"
		  "::1\tlocalhost ip6-localhost ip6-loopback\n"
		  "127.0.1.1\tbox\n");
	close(fd);
}

/* Step 3. */
static void enter_root(void)
{
	TRY(chdir(root));
	TRY(syscall(SYS_pivot_root, ".", "."));
	TRY(umount2(".", MNT_DETACH));
	TRY(chdir("/"));
}

/* ---- the child: its rights, step 6 ------------------------------------- */

static void die_with_parent(void)
{
	struct pollfd end = { .fd = gate[1] };

	TRY(prctl(PR_SET_PDEATHSIG, SIGKILL));
	TRY(poll(&end, 1, 0));
	if (end.revents & POLLHUP)
		_exit(125);
}

static void become_container_root(void)
{
	setgroups(0, NULL); /* EPERM where only one group is mapped */
	TRY(syscall(SYS_setresgid, 0, 0, 0));
	TRY(syscall(SYS_setresuid, 0, 0, 0));
	die_with_parent();
}

/* Lets the container have half of what the host's users have. */
static void halve(const char *hosts, const char *ours)
{
	char text[32] = "";
	int fd = open(hosts, O_RDONLY | O_CLOEXEC);

	if (fd == -1 || read(fd, text, sizeof text - 1) == -1)
		return;
	close(fd);
	snprintf(text, sizeof text, "%ld", atol(text) / 2);
	write_file(ours, text);
}

static void clear_inheritance(void)
{
	uint64_t default_action[4] = { 0 };
	struct stat status;

	for (int fd = 0; fd < 3; fd++)
		TRY(fstat(fd, &status));
	TRY(syscall(SYS_close_range, 3, ~0U, 1 << 2 /* CLOEXEC */));
	lower_limit(RLIMIT_NOFILE, 1024, 65536);
	halve("/proc/sys/fs/inotify/max_user_instances",
	      "/proc/sys/user/max_inotify_instances");
	halve("/proc/sys/fs/inotify/max_user_watches",
	      "/proc/sys/user/max_inotify_watches");
	for (int signal = 1; signal <= 64; signal++)
		if (signal != SIGKILL && signal != SIGSTOP)
			syscall(SYS_rt_sigaction, signal, default_action, NULL,
				8);
	personality(0);
	umask(022);
	TRY(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL));
}

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd;

	TRY(fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	TRY(ioctl(fd, SIOCGIFFLAGS, &request));
	request.ifr_flags |= IFF_UP;
	TRY(ioctl(fd, SIOCSIFFLAGS, &request));
	close(fd);
}

static void drop_privileges(void)
{
	const uint64_t kept =
		1ULL << CAP_CHOWN | 1ULL << CAP_DAC_OVERRIDE |
		1ULL << CAP_FOWNER | 1ULL << CAP_FSETID | 1ULL << CAP_SETFCAP |
		1ULL << CAP_SETUID | 1ULL << CAP_SETGID | 1ULL << CAP_SETPCAP |
		1ULL << CAP_KILL | 1ULL << CAP_NET_BIND_SERVICE |
		1ULL << CAP_NET_RAW | 1ULL << CAP_SYS_CHROOT;
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct data[2] = {
		{ (uint32_t)kept, (uint32_t)kept, 0 },
		{ (uint32_t)(kept >> 32), (uint32_t)(kept >> 32), 0 },
	};

	for (int capability = 0; capability < 64; capability++)
		if (!(kept >> capability & 1) &&
		    prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == -1)
			break;
	TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	TRY(syscall(SYS_capset, &header, data));
	TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	TRY(prctl(PR_SET_DUMPABLE, 0));
}

static void install_filter(void)
{
	static struct sock_filter code[] = {
#include "filter.h"
	};
	struct sock_fprog filter = { .len = sizeof code / sizeof *code,
				     .filter = code };

	TRY(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter));
}

/* Allows what is below `path`, and nothing else. */
static void allow(int rules, int fd, uint64_t access)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access,
						   .parent_fd = fd };

	/* EBADFD for a pipe, which has no path. */
	syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule,
		0);
}

static void allow_below(int rules, const char *path, uint64_t access)
{
	int fd;

	TRY(fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	allow(rules, fd, access);
	close(fd);
}

static void confine(void)
{
	/* The file system's rights of version 1, and REFER and TRUNCATE. */
	uint64_t files = (1 << 13) - 1;
	int version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
	int rules;

	if (version < 1)
		return;
	if (version >= 2)
		files |= 1 << 13;
	if (version >= 3)
		files |= 1 << 14;
	struct landlock_ruleset_attr attr = { .handled_access_fs = files };
	TRY(rules = (int)syscall(SYS_landlock_create_ruleset, &attr,
				 sizeof attr.handled_access_fs, 0));
	allow_below(rules, "/", files);
	allow_below(rules, "/dev/mqueue", files);
	for (int fd = 0; fd < 3; fd++) {
		TRY(fcntl(fd, F_GETFL));
		allow(rules, fd,
		      LANDLOCK_ACCESS_FS_READ_FILE |
			      LANDLOCK_ACCESS_FS_WRITE_FILE);
	}
	TRY(syscall(SYS_landlock_restrict_self, rules, 0));
	close(rules);
}

/* The program that executes the command, in sealed memory. */
static int make_stub(void)
{
	static const unsigned char code[] = {
#include "stub.h"
	};
	int memory, stub;

	memory = memfd_create("stub", MFD_CLOEXEC | MFD_ALLOW_SEALING |
					      0x10 /* MFD_EXEC */);
	if (memory == -1)
		TRY(memory = memfd_create("stub", MFD_CLOEXEC |
							  MFD_ALLOW_SEALING));
	TRY(write(memory, code, sizeof code));
	TRY(fcntl(memory, F_ADD_SEALS,
		  F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE |
			  0x10 /* F_SEAL_FUTURE_WRITE */));
	TRY(stub = (int)syscall(SYS_open_tree, memory, "",
				OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
	close(memory);
	return stub;
}

/* Closes all descriptors but three, the gate and `kept`. */
static void close_descriptors(int kept)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;
	int numbers[64], count = 0;

	TRY(directory ? 0 : -1);
	while ((entry = readdir(directory)) && count < 64)
		numbers[count++] = atoi(entry->d_name);
	closedir(directory);
	for (int i = 0; i < count; i++)
		if (numbers[i] > 2 && numbers[i] != gate[1] &&
		    numbers[i] != kept &&
		    (fcntl(numbers[i], F_GETFD) & FD_CLOEXEC))
			close(numbers[i]);
}

/* ---- both -------------------------------------------------------------- */

static void execute(void)
{
	sigset_t none;

	sigemptyset(&none);
	TRY(sigprocmask(SIG_SETMASK, &none, NULL));
	TRY(execv(program, (char *[]){ (char *)program, NULL }));
}

/* Waits for signals until `child` has ended, and reaps whoever ends. */
static int wait_for(pid_t child, pid_t which)
{
	int status;

	for (;;) {
		siginfo_t info;
		pid_t pid;

		sigwaitinfo(&signals, &info);
		while ((pid = waitpid(which, &status, WNOHANG | WUNTRACED)) > 0)
			if (pid == child)
				return WIFEXITED(status) ? WEXITSTATUS(status) :
							   125;
	}
}

/* Step 2, and with a `stub` step 6. */
static void init(int stub)
{
	int report[2] = { -1, -1 }, error = 0;
	struct stat status;
	pid_t command;

	close_descriptors(stub);
	TRY(access(program, X_OK));
	TRY(stat(program, &status));
	TRY(pipe2(report, O_CLOEXEC));
	command = vfork();
	TRY(command);
	if (command == 0 && stub == -1)
		execute();
	if (command == 0) {
		char *line[] = { (char *)program, (char *)program, NULL };
		sigset_t none;

		/* Descriptor 3 is where the stub tells that it has failed. */
		TRY(dup2(report[1], 3));
		sigemptyset(&none);
		TRY(sigprocmask(SIG_SETMASK, &none, NULL));
		TRY(syscall(SYS_execveat, stub, "", line, environ,
			    AT_EMPTY_PATH));
	}
	close(report[1]);
	TRY(read(report[0], &error, sizeof error));
	close(report[0]);
	close(stub);
	_exit(error ? 127 : wait_for(command, -1));
}

int main(int argc, char **argv)
{
	static const int all[] = { SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2,
				   SIGTERM, SIGCHLD, SIGCONT, SIGTTOU, SIGIO };
	struct cgroup cgroups[3];
	static int mounts[500];
	char **lower = argv + 7;
	int count = 0, stub = -1;
	uint64_t flags = CLONE_NEWUTS;
	char byte;

	if (argc < 7 || argc > 6 + 500)
		return 125;
	step = atoi(argv[1]);
	root = argv[2];
	program = argv[3];
	plain_user = geteuid() != 0;

	if (step >= 3)
		find_root();
	for (char **layer = lower; *layer; layer++)
		check_directory(*layer);
	if (step == 6) {
		lower_limit(RLIMIT_SIGPENDING, 4096, RLIM_INFINITY);
		lower_limit(RLIMIT_MSGQUEUE, 400 << 10, RLIM_INFINITY);
	}
	if (step == 6 && !plain_user) {
		read_file("/etc/subuid");
		read_file("/etc/passwd");
		read_file("/etc/subgid");
		read_file("/etc/group");
		copy_mounts(lower, mounts);
	}
	if (step < 6)
		become_root();
	if (step >= 4)
		count = make_cgroups(cgroups, argv + 4);
	if (step >= 2)
		flags |= CLONE_NEWPID;
	if (step >= 3)
		flags |= CLONE_NEWNS;
	if (step >= 6)
		flags |= CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC;

	sigemptyset(&signals);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		sigaddset(&signals, all[i]);
	TRY(sigprocmask(SIG_BLOCK, &signals, NULL));
	for (int fd = 0; fd < 3; fd++)
		tcgetpgrp(fd); /* none of them a terminal here */
	TRY(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gate));
	pid_t child = new_process(flags, count == 1 ? cgroups[0].entrance : -1);
	if (child == 0) {
		close(gate[0]);
		TRY(setsid());
		die_with_parent();
		TRY(recv(gate[1], &byte, 1, 0));
		for (int i = 0; count == 3 && i < count; i++)
			TRY(write(cgroups[i].entrance, "0", 1));
		if (step == 6) {
			become_container_root();
			clear_inheritance();
			TRY(unshare(CLONE_NEWCGROUP));
			loopback_up();
		}
		TRY(sethostname("box", 3));
		if (step >= 3)
			TRY(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
		for (int i = 0; i < argc - 6 && mounts[i]; i++)
			TRY(syscall(SYS_move_mount, mounts[i], "", AT_FDCWD,
				    i == 0 ? root : lower[i - 1],
				    MOVE_MOUNT_F_EMPTY_PATH));
		if (step >= 5)
			mount_overlay(lower);
		else if (step >= 3)
			bind_mount(root, root, MS_REC);
		if (step >= 3) {
			mkdir(below_root("proc"), 0755);
			TRY(mount("proc", below_root("proc"), "proc",
				  RESTRICTED, NULL));
		}
		if (step == 6) {
			mount_sys();
			mount_dev();
			protect_kernel_files();
			show_cgroups(cgroups, count);
			tell_names();
		} else if (step >= 3) {
			mkdir(below_root("dev"), 0755);
			bind_mount("/dev", below_root("dev"), MS_REC);
		}
		if (step >= 3)
			enter_root();
		if (step == 6) {
			drop_privileges();
			confine();
			stub = make_stub();
			install_filter();
		}
		if (step >= 2)
			init(stub);
		execute();
	}
	TRY(fcntl(gate[0], F_SETOWN, getpid()));
	TRY(fcntl(gate[0], F_SETFL, O_NONBLOCK | O_ASYNC));
	close(gate[1]);
	if (step == 6) {
		map_ids(child);
		if (!plain_user)
			map_files(child, mounts);
		reset_oom_score(child);
	}
	TRY(send(gate[0], "!", 1, MSG_NOSIGNAL));
	int code = wait_for(child, child);
	for (int i = 0; i < count; i++)
		remove_cgroup(&cgroups[i]);
	return code;
}
