import { ask } from "../shared/storage";

/** Open a file that others may have open in the same mode, where the browser can; elsewhere by itself. */
export function openShared(
  file: FileSystemFileHandle,
  mode: "read-only" | "readwrite-unsafe",
): Promise<FileSystemSyncAccessHandle> {
  return ask(file, () => {
    const open = file.createSyncAccessHandle.bind(file) as (options: {
      mode: string; // unknown to the method's type
    }) => Promise<FileSystemSyncAccessHandle>;
    return open({ mode });
  });
}
