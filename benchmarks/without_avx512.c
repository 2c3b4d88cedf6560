/* Shows programs a processor without AVX-512 and AMX, so that they compute as they would on one that has only AVX2.

   cc -O1 -shared -fPIC benchmarks/without_avx512.c -o /tmp/without_avx512.so
   LD_PRELOAD=/tmp/without_avx512.so c3d-export bench artifacts/c3d.onnx --peers

   Libraries ask the CPUID instruction what they may use. Linux can make it fault (arch_prctl(2), ARCH_CPUID; the
   processor says so by cpuid_fault in /proc/cpuinfo); the handler below answers with what the processor says, less
   some bits of leaf 7 (Intel's manual, volume 2A, CPUID, table 3-8). Each program that is started does the same, for
   LD_PRELOAD is inherited. What remains of the real processor is its clock, its caches and its memory. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define FEATURES 7 /* the leaf of "structured extended feature flags" */
#define BIT(place) (1u << (place))
/* AVX512 F, DQ, IFMA, PF, ER, CD, BW, VL */
static const unsigned EBX = BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31);
/* AVX512 VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
static const unsigned ECX = BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14);
/* AVX512 4VNNIW, 4FMAPS, VP2INTERSECT, FP16; AMX BF16, TILE, INT8 */
static const unsigned EDX = BIT(2) | BIT(3) | BIT(8) | BIT(23) | BIT(22) | BIT(24) | BIT(25);

static long faulting(int on) { return syscall(SYS_arch_prctl, ARCH_SET_CPUID, on ? 0UL : 1UL); }

static void answer(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    if (info->si_code != SI_KERNEL || code[0] != 0x0f || code[1] != 0xa2) { /* another fault than CPUID's: let it kill */
        struct sigaction last = {.sa_handler = SIG_DFL};
        syscall(SYS_rt_sigaction, number, &last, NULL, 8);
        return;
    }
    unsigned leaf = (unsigned)registers[REG_RAX], part = (unsigned)registers[REG_RCX], a, b, c, d;
    faulting(0);
    __cpuid_count(leaf, part, a, b, c, d);
    faulting(1);
    if (leaf == FEATURES && part == 0) b &= ~EBX, c &= ~ECX, d &= ~EDX;
    if (leaf == FEATURES && part > 0) a = b = c = d = 0; /* AVX512 BF16, AMX FP16 and what came later */
    registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

/* A program that catches its own faults, as compilers do, must not replace the handler. */
int sigaction(int number, const struct sigaction *action, struct sigaction *before) {
    static int (*real)(int, const struct sigaction *, struct sigaction *);
    if (!real) real = (int (*)(int, const struct sigaction *, struct sigaction *))dlsym(RTLD_NEXT, "sigaction");
    return real(number, number == SIGSEGV && action && action->sa_sigaction != answer ? NULL : action, before);
}

__sighandler_t signal(int number, __sighandler_t handler) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, before;
    return sigaction(number, &action, &before) == 0 ? before.sa_handler : SIG_ERR;
}

__attribute__((constructor)) static void start(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    if (sigaction(SIGSEGV, &action, NULL) != 0 || faulting(1) != 0) {
        fprintf(stderr, "without_avx512: %s: this machine cannot hide instructions\n", strerror(errno));
        exit(1);
    }
}
