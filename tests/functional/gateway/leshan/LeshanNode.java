import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import java.util.concurrent.ConcurrentHashMap;
import org.eclipse.leshan.client.californium.LeshanClient;
import org.eclipse.leshan.client.californium.LeshanClientBuilder;
import org.eclipse.leshan.client.object.Device;
import org.eclipse.leshan.client.object.Security;
import org.eclipse.leshan.client.object.Server;
import org.eclipse.leshan.client.resource.BaseInstanceEnabler;
import org.eclipse.leshan.client.resource.ObjectsInitializer;
import org.eclipse.leshan.client.servers.ServerIdentity;
import org.eclipse.leshan.core.LwM2mId;
import org.eclipse.leshan.core.model.ObjectLoader;
import org.eclipse.leshan.core.model.ObjectModel;
import org.eclipse.leshan.core.model.ResourceModel;
import org.eclipse.leshan.core.model.ResourceModel.Operations;
import org.eclipse.leshan.core.model.ResourceModel.Type;
import org.eclipse.leshan.core.model.StaticModel;
import org.eclipse.leshan.core.node.LwM2mResource;
import org.eclipse.leshan.core.node.LwM2mSingleResource;
import org.eclipse.leshan.core.request.BindingMode;
import org.eclipse.leshan.core.response.ExecuteResponse;
import org.eclipse.leshan.core.response.ReadResponse;
import org.eclipse.leshan.core.response.WriteResponse;

/**
 * A node with a thermometer (3303), an accelerometer (3313) and a lamp (3311), told on its standard input what to do:
 * "set object resource value", "update", "quit". It says on its standard output what it was told by the gateway.
 *
 * <p>Arguments: the gateway's URI, the node's name, its lifetime in seconds, its binding (U or UQ).
 */
public class LeshanNode {
    static final Map<Integer, Instance> INSTANCES = new ConcurrentHashMap<>();

    static ResourceModel resource(int id, Operations operations, Type type) {
        return new ResourceModel(id, "r" + id, operations, false, false, type, "", "", "");
    }

    static ObjectModel object(int id, ResourceModel... resources) {
        return new ObjectModel(id, "o" + id, "", ObjectModel.DEFAULT_VERSION, true, false, resources);
    }

    public static class Instance extends BaseInstanceEnabler {
        final int object;
        final Map<Integer, Object> values = new ConcurrentHashMap<>();

        /** For Leshan, which wants to be able to create instances where a server asks for it. */
        public Instance() {
            this.object = 0;
        }

        Instance(int object, Object... values) {
            this.object = object;
            for (int index = 0; index < values.length; index += 2) {
                this.values.put((Integer) values[index], values[index + 1]);
            }
            INSTANCES.put(object, this);
        }

        static LwM2mResource made(int id, Object value) {
            if (value instanceof Double) return LwM2mSingleResource.newFloatResource(id, (Double) value);
            if (value instanceof Long) return LwM2mSingleResource.newIntegerResource(id, (Long) value);
            if (value instanceof Boolean) return LwM2mSingleResource.newBooleanResource(id, (Boolean) value);
            return LwM2mSingleResource.newStringResource(id, (String) value);
        }

        @Override
        public ReadResponse read(ServerIdentity identity, int id) {
            Object value = values.get(id);
            return value == null ? ReadResponse.notFound() : ReadResponse.success(made(id, value));
        }

        @Override
        public WriteResponse write(ServerIdentity identity, int id, LwM2mResource value) {
            values.put(id, value.getValue());
            System.out.println("written " + object + " " + id + " " + value.getValue());
            fireResourcesChange(id);
            return WriteResponse.success();
        }

        @Override
        public ExecuteResponse execute(ServerIdentity identity, int id, String parameters) {
            System.out.println("executed " + object + " " + id);
            return ExecuteResponse.success();
        }

        void set(int id, String text) {
            Object former = values.get(id);
            values.put(id, former instanceof Double ? (Object) Double.valueOf(text)
                    : former instanceof Long ? (Object) Long.valueOf(text)
                    : former instanceof Boolean ? (Object) Boolean.valueOf(text) : text);
            fireResourcesChange(id);
        }
    }

    public static void main(String[] arguments) {
        List<ObjectModel> models = new ArrayList<>(ObjectLoader.loadDefault());
        models.add(object(3303, resource(5700, Operations.R, Type.FLOAT), resource(5701, Operations.R, Type.STRING),
                resource(5605, Operations.E, Type.STRING)));
        models.add(object(3313, resource(5702, Operations.R, Type.FLOAT), resource(5703, Operations.R, Type.FLOAT),
                resource(5704, Operations.R, Type.FLOAT)));
        models.add(object(3311, resource(5850, Operations.RW, Type.BOOLEAN), resource(5851, Operations.RW, Type.INTEGER)));
        ObjectsInitializer initializer = new ObjectsInitializer(new StaticModel(models));
        initializer.setInstancesForObject(LwM2mId.SECURITY, Security.noSec(arguments[0], 123));
        initializer.setInstancesForObject(
                LwM2mId.SERVER, new Server(123, Long.parseLong(arguments[2]), BindingMode.valueOf(arguments[3]), false));
        initializer.setInstancesForObject(LwM2mId.DEVICE, new Device("maker", "model", "1", arguments[3]));
        initializer.setInstancesForObject(3303, new Instance(3303, 5700, 21.5, 5701, "Cel"));
        initializer.setInstancesForObject(3313, new Instance(3313, 5702, 0.5, 5703, 0.25, 5704, 9.75));
        initializer.setInstancesForObject(3311, new Instance(3311, 5850, true, 5851, 40L));
        LeshanClientBuilder builder = new LeshanClientBuilder(arguments[1]);
        builder.setObjects(initializer.createAll());
        LeshanClient client = builder.build();
        client.start();
        Scanner input = new Scanner(System.in);
        while (input.hasNextLine()) {
            String[] words = input.nextLine().split(" ");
            switch (words[0]) {
                case "set" -> INSTANCES.get(Integer.parseInt(words[1])).set(Integer.parseInt(words[2]), words[3]);
                case "update" -> client.triggerRegistrationUpdate();
                default -> {
                    client.destroy(true);
                    return;
                }
            }
        }
        client.destroy(true);
    }
}
