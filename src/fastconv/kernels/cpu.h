/* What the CPU can do and the operating system has switched on. */
#ifndef FASTCONV_CPU_H
#define FASTCONV_CPU_H

/* The maker's name as cpuid has it, 12 letters and a zero; empty on CPUs without it. */
void fc_cpu_maker(char name[13]);

#if defined(__x86_64__)
int fc_cpu_has_x86_v2(void);
int fc_cpu_has_x86_v3(void);
int fc_cpu_has_x86_v4(void);
int fc_cpu_has_x86_v4_vnni(void);
int fc_cpu_has_x86_v4_amx(void);
#endif

#endif
