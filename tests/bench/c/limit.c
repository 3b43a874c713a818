/*
 * limit ROOTFS PROGRAM MEMORY PIDS
 *
 * The limit: the least that a container is. All namespaces but that of users,
 * a private tree of mounts, an overlay whose upper layer is in memory, a root
 * and a /proc of its own, a host name, and a cgroup that limits memory and
 * processes. No init, no gate, no check that is not needed.
 *
 * MEMORY and PIDS are the cgroups in which ours are made. If they are one and
 * the same, that is cgroup v2; if they are empty, there is none.
 */
#include "calls.h"

int main(int argc, char **argv)
{
	if (argc != 5)
		return 125;
	const char *root = argv[1], *program = argv[2];
	int limited = argv[3][0] != '\0', v2 = !strcmp(argv[3], argv[4]);
	struct cgroup memory, pids;

	become_root();
	if (limited && v2) {
		make_cgroup(&memory, argv[3], v2);
		write_limit(&memory, "memory.max", "67108864");
		write_limit(&memory, "pids.max", "64");
	} else if (limited) {
		make_cgroup(&memory, argv[3], v2);
		write_limit(&memory, "memory.limit_in_bytes", "67108864");
		make_cgroup(&pids, argv[4], v2);
		write_limit(&pids, "pids.max", "64");
	}

	uint64_t flags = CLONE_NEWUTS | CLONE_NEWPID | CLONE_NEWNS |
			 CLONE_NEWNET | CLONE_NEWIPC;
	pid_t pid = new_process(flags, limited && v2 ? memory.entrance : -1);
	if (pid == 0) {
		char options[100];
		int lower;

		if (limited && !v2) {
			TRY(write(memory.entrance, "0", 1));
			TRY(write(pids.entrance, "0", 1));
		}
		TRY(unshare(CLONE_NEWCGROUP));
		TRY(sethostname("box", 3));
		TRY(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
		TRY(lower = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC));
		TRY(mount("tmpfs", root, "tmpfs", 0, "mode=0755"));
		TRY(chdir(root));
		TRY(mkdir("upper", 0755));
		TRY(mkdir("work", 0700));
		snprintf(options, sizeof options,
			 "lowerdir=/proc/self/fd/%d,upperdir=upper,workdir=work",
			 lower);
		TRY(mount("overlay", root, "overlay", 0, options));
		TRY(chdir(root));
		TRY(mount("proc", "proc", "proc",
			  MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
		TRY(syscall(SYS_pivot_root, ".", "."));
		TRY(umount2(".", MNT_DETACH));
		TRY(execv(program, (char *[]){ (char *)program, NULL }));
	}

	int status;
	TRY(waitpid(pid, &status, 0));
	if (limited)
		remove_cgroup(&memory);
	if (limited && !v2)
		remove_cgroup(&pids);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
