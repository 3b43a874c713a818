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
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <grp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
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

/* Step 4 looks for cgroups of runs that were killed. */
static void sweep(const char *parent)
{
	DIR *directory = opendir(parent);

	while (directory && readdir(directory))
		;
	if (directory)
		closedir(directory);
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
	write_limit(&cgroups[0], "memory.memsw.limit_in_bytes", "67108864");
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

static int outlive(void *unused)
{
	(void)unused;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	getppid();
	return pause();
}

/* Step 6: a user namespace with the container's ids, for which a process must
 * live while it is opened. */
static int open_user_namespace(void)
{
	static char stack[16 * 1024] __attribute__((aligned(16)));
	char path[64];
	int user;
	pid_t pid;

	TRY(pid = clone(outlive, stack + sizeof stack,
			CLONE_VM | CLONE_NEWUSER | SIGCHLD, NULL));
	map_ids(pid);
	snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
	TRY(user = open(path, O_RDONLY | O_CLOEXEC));
	kill(pid, SIGKILL);
	TRY(waitpid(pid, NULL, 0));
	return user;
}

/* Step 6, as root: copies of the mounts at `root` and at the layers that show
 * their files with the container's ids. */
static void map_files(char **lower, int *mounts)
{
	int user = open_user_namespace();
	struct mount_attr private = { .propagation = MS_PRIVATE };
	struct mount_attr mapped = { .attr_set = MOUNT_ATTR_IDMAP,
				     .userns_fd = (uint64_t)user };
	const char *path = root;

	do {
		int mount;

		TRY(mount = (int)syscall(SYS_open_tree, AT_FDCWD, path,
					 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
		TRY(syscall(SYS_mount_setattr, mount, "",
			    AT_EMPTY_PATH | AT_RECURSIVE, &private,
			    sizeof private));
		TRY(syscall(SYS_mount_setattr, mount, "",
			    AT_EMPTY_PATH | AT_RECURSIVE, &mapped,
			    sizeof mapped));
		*mounts++ = mount;
	} while ((path = *lower++));
	close(user);
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

/* A path that this kernel does not have is skipped. */
static int bind_if_there(const char *source, const char *target)
{
	return mount(source, target, NULL, MS_BIND, NULL) == 0;
}

/* Step 6: /sys, and Docker's masked and read-only paths. */
static void protect_kernel_files(void)
{
	static const char *files[] = { "proc/interrupts", "proc/kcore",
		"proc/keys", "proc/latency_stats", "proc/sched_debug",
		"proc/timer_list", "proc/timer_stats" };
	static const char *directories[] = { "proc/asound", "proc/scsi",
		"sys/devices/virtual/powercap", "sys/firmware" };
	static const char *read_only[] = { "proc/bus", "proc/fs", "proc/irq",
		"proc/sys", "proc/sysrq-trigger" };
	struct stat status;

	mkdir(below_root("sys"), 0755);
	check_directory(below_root("sys"));
	TRY(mount("sysfs", below_root("sys"), "sysfs", RESTRICTED | MS_RDONLY,
		  NULL));
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		bind_if_there("/dev/null", below_root(files[i]));
	stat(below_root("sys/devices/system/cpu/cpu0/thermal_throttle"),
	     &status);
	mount("tmpfs", below_root("proc/acpi"), "tmpfs",
	      RESTRICTED | MS_RDONLY, NULL);
	for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
		bind_if_there(below_root("proc/acpi"),
			      below_root(directories[i]));
	for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) {
		const char *path = below_root(read_only[i]);
		if (bind_if_there(path, path))
			TRY(mount(NULL, path, NULL,
				  MS_REMOUNT | MS_BIND | MS_RDONLY | RESTRICTED,
				  NULL));
	}
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

static void clear_inheritance(void)
{
	uint64_t default_action[4] = { 0 };
	struct stat status;

	for (int fd = 0; fd < 3; fd++)
		TRY(fstat(fd, &status));
	TRY(syscall(SYS_close_range, 3, ~0U, 1 << 2 /* CLOEXEC */));
	for (int signal = 1; signal <= 64; signal++)
		syscall(SYS_rt_sigaction, signal, default_action, NULL, 8);
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

/* Step 2. */
static void init(void)
{
	pid_t command = vfork();

	TRY(command);
	if (command == 0)
		execute();
	_exit(wait_for(command, -1));
}

int main(int argc, char **argv)
{
	static const int all[] = { SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2,
				   SIGTERM, SIGCHLD, SIGCONT, SIGTTOU, SIGIO };
	struct cgroup cgroups[3];
	static int mounts[500];
	char **lower = argv + 7;
	int count = 0;
	uint64_t flags = CLONE_NEWUTS;
	char byte;

	if (argc < 7 || argc > 6 + 500)
		return 125;
	step = atoi(argv[1]);
	root = argv[2];
	program = argv[3];
	plain_user = geteuid() != 0;

	if (step >= 3)
		check_directory(root);
	for (char **layer = lower; *layer; layer++)
		check_directory(*layer);
	if (step == 6 && !plain_user) {
		read_file("/etc/subuid");
		read_file("/etc/subgid");
		map_files(lower, mounts);
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
	TRY(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gate));
	pid_t child = new_process(flags, count == 1 ? cgroups[0].entrance : -1);
	if (child == 0) {
		close(gate[0]);
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
			protect_kernel_files();
			mount_dev();
		} else if (step >= 3) {
			mkdir(below_root("dev"), 0755);
			bind_mount("/dev", below_root("dev"), MS_REC);
		}
		if (step >= 3)
			enter_root();
		if (step == 6) {
			drop_privileges();
			install_filter();
		}
		if (step >= 2)
			init();
		execute();
	}
	close(gate[1]);
	if (step == 6)
		map_ids(child);
	TRY(send(gate[0], "!", 1, MSG_NOSIGNAL));
	int code = wait_for(child, child);
	for (int i = 0; i < count; i++)
		remove_cgroup(&cgroups[i]);
	return code;
}
